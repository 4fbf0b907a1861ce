// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "proxy/pod.h"
#include "proxy/tunnel.h"

namespace weft::proxy {

class Pipe;

/// The outbound tunnels of one pod in one worker. A tunnel is shared by connections of the same
/// source identity, destination identities and destination address, never across pods.
class Pool final : public TunnelUser {
 public:
  explicit Pool(Pod& pod);

  /// Finds or opens a tunnel for `pipe` and opens its stream there. The pod has an identity.
  void submit(Pipe& pipe, const Endpoint& to, const std::vector<tls::SpiffeId>& expected);

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

  using Groups = std::map<Key, Group>;

  std::optional<Outcome> submit(Pipe& pipe, Groups::iterator at);
  static Tunnel* leastLoaded(const Group& group);
  Tunnel* open(Groups::iterator at, Outcome& outcome);
  Status openStream(Tunnel& tunnel, Pipe& pipe);

  Pod& pod_;
  io::SpareSockets sockets4_;
  io::SpareSockets sockets6_;
  Groups groups_;
  std::unordered_map<Tunnel*, Groups::iterator> groupOf_;
  tls::SessionStore sessions_;  // of this pod alone: no other is offered them
};

}  // namespace weft::proxy
