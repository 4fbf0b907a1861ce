// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "proxy/pod.h"
#include "proxy/tunnel.h"

namespace weft::proxy {

/// A pod's inbound side: tunnels from peers, and captured plaintext. Everything is authorized here,
/// at the destination, before the application gets a byte.
class Inbound final : public TunnelUser {
 public:
  explicit Inbound(Pod& pod)
      : pod_(pod), handshakes_(std::make_shared<SharedSum>(pod.limits().handshakesPerPod)) {}

  /// A peer's connection to kHbonePort.
  void onAccept(UniqueFd fd, const Endpoint& peer);
  /// A plaintext connection, captured at kPlaintextPort.
  void onAcceptPlaintext(UniqueFd fd, const Endpoint& peer);
  void onIdentity();

  void onTunnelUp(Tunnel&) override {}
  void onTunnelRequest(Tunnel& tunnel, http::StreamId id, std::string_view method,
                       const http::ConnectRequest& request) override;
  void onTunnelGone(Tunnel& tunnel, const Outcome& outcome) override;

 private:
  struct Held {
    UniqueFd fd;
    Endpoint peer;
    io::Timer timer;
  };

  void serve(UniqueFd fd, const Endpoint& peer);
  Claim connectionOf(const std::shared_ptr<Source>& source);
  void refuseTunnel(const Endpoint& peer, const Endpoint& local, const Outcome& outcome);
  void refuse(Tunnel& tunnel, http::StreamId id, int status, const ConnectionInfo& info,
              const Outcome& outcome);
  Result<UniqueFd> connectToApp(const ConnectionInfo& info);

  Pod& pod_;
  std::shared_ptr<SharedSum> handshakes_;    // that are not finished, in this worker
  std::vector<std::unique_ptr<Held>> held_;  // waiting for the pod's certificate
};

}  // namespace weft::proxy
