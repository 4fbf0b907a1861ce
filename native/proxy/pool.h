// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "proxy/pod.h"
#include "proxy/tunnel.h"

namespace weft::proxy {

class Pipe;

/// The outbound tunnels of one pod in one worker. A tunnel is shared by connections of the same
/// source identity, destination identities and destination address, never across pods.
class Pool final : public TunnelUser {
 public:
  explicit Pool(Pod& pod) : pod_(pod) {}

  /// Finds or opens a tunnel for `pipe` and opens its stream there. The pod has an identity.
  void submit(Pipe& pipe, const Endpoint& to, const std::vector<tls::SpiffeId>& expected);
  /// The pod's identity was renewed: existing tunnels take no new streams.
  void retireAll();

  void onTunnelUp(Tunnel& tunnel) override;
  void onTunnelRequest(Tunnel& tunnel, http::StreamId id, std::string_view method,
                       const http::ConnectRequest& request) override;
  void onTunnelGone(Tunnel& tunnel, const Outcome& outcome) override;

 private:
  struct Key {
    Endpoint to;
    std::string expected;  // the identities, sorted and joined
    auto operator<=>(const Key&) const = default;
  };
  struct Group {
    std::vector<tls::SpiffeId> expected;
    std::vector<Tunnel*> tunnels;
  };

  void submit(Pipe& pipe, const Key& key, Group& group);
  Tunnel* open(const Key& key, Group& group, Outcome& outcome);
  bool openStream(Tunnel& tunnel, Pipe& pipe);

  Pod& pod_;
  std::map<Key, Group> groups_;
};

}  // namespace weft::proxy
