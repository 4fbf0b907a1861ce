// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "base/unique_fd.h"
#include "proxy/pod.h"
#include "proxy/tunnel.h"

namespace weft::proxy {

/// A pod's inbound side: tunnels from peers, and captured plaintext. Everything is authorized here,
/// at the destination, before the application gets a byte.
class Inbound final : public TunnelUser {
 public:
  explicit Inbound(Pod& pod) : pod_(pod) {}

  /// A peer's connection to kHbonePort.
  void onAccept(UniqueFd fd, const Endpoint& peer);
  /// A plaintext connection, captured at kPlaintextPort.
  void onAcceptPlaintext(UniqueFd fd, const Endpoint& peer);
  void onIdentity();

  void onTunnelUp(Tunnel& tunnel) override;
  void onTunnelRequest(Tunnel& tunnel, http::StreamId id, std::string_view method,
                       const http::ConnectRequest& request) override;
  void onTunnelGone(Tunnel& tunnel, const Outcome& outcome) override;

 private:
  struct Held {
    UniqueFd fd;
    Endpoint peer;
    io::Timer timer;
  };

  /// What one address has open here.
  struct Source {
    std::vector<Tunnel*> tunnels;
    size_t handshakes = 0;  // of the tunnels, those that are not up yet
    std::shared_ptr<SourceBudget> windows;
  };

  void serve(UniqueFd fd, const Endpoint& peer);
  const char* limitReachedBy(const Ip& source) const;
  bool hasTooManyStreams(const Ip& source) const;
  void refuseTunnel(const Endpoint& peer, const Endpoint& local, const Outcome& outcome);
  void refuse(Tunnel& tunnel, http::StreamId id, int status, const ConnectionInfo& info,
              const Outcome& outcome);
  Result<UniqueFd> connectToApp(const ConnectionInfo& info);

  Pod& pod_;
  std::unordered_map<Ip, Source, IpHash> sources_;
  size_t handshakes_ = 0;
  std::vector<std::unique_ptr<Held>> held_;  // waiting for the pod's certificate
};

}  // namespace weft::proxy
