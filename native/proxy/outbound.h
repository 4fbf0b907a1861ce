// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/unique_fd.h"
#include "proxy/attempt.h"
#include "proxy/pod.h"
#include "proxy/pool.h"

namespace weft::proxy {

/// A pod's outbound side: captured connections of its applications become streams in tunnels, or
/// pass through in plaintext.
class Outbound {
 public:
  explicit Outbound(Pod& pod) : pod_(pod), pool_(pod) {}

  /// An application's connection, captured at kOutboundPort.
  void onAccept(UniqueFd fd, const Endpoint& peer);
  /// Tries a connection again whose other side could not be had, `elsewhere` at another endpoint of
  /// its service. False when it may not be, or nowhere else; its socket and what is known of it are
  /// then as they were.
  bool retry(Attempt& attempt, bool elsewhere);
  /// Ends it by reset, counted and reported.
  void refuse(UniqueFd fd, const ConnectionInfo& info, const Outcome& outcome);
  /// The pod got its first or a renewed identity.
  void onIdentity();
  Pool& pool() { return pool_; }

 private:
  struct Held {
    std::vector<Pipe*> pipes;  // at most one; a list, since pipes leave lists by themselves
    Endpoint to;
    std::vector<tls::SpiffeId> expected;
    io::Timer timer;
  };

  Route decide(const Attempt& attempt);
  void connect(Attempt attempt, Route route);
  void tunnel(Attempt attempt, Route route);
  void hold(Pipe& pipe, const Route& route);
  void passthrough(Attempt attempt, Lease lease);

  Pod& pod_;
  Pool pool_;
  std::vector<std::unique_ptr<Held>> held_;  // waiting for the pod's certificate
};

}  // namespace weft::proxy
