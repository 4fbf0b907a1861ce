// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/tables.h"
#include "tls/spiffe_id.h"

namespace weft::proxy {

/// A small fast generator for choices that need no secrecy (endpoint picks, trace ids).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed | 1) {}
  uint64_t next();
  /// 0 <= result < bound; bound > 0.
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }

 private:
  uint64_t state_;
};

/// Where one outbound connection goes, and why.
struct Route {
  enum class Kind { kTunnel, kPassthrough, kRefuse };
  Kind kind = Kind::kRefuse;  // fail-closed by default
  Endpoint target;  ///< The application: the CONNECT's authority, or the plain destination.
  Endpoint tunnel;  ///< kTunnel: the HBONE listener.
  std::vector<tls::SpiffeId> expected;  ///< kTunnel: identities the peer may have.
  std::shared_ptr<const Workload> workload;
  std::string service;  ///< key, when addressed by VIP
  std::string detail;   ///< Why this route, for a person.
};

/// Decides where a connection of `source` to `destination` goes. Pure but for the pick among
/// endpoints. Fails closed inside the mesh (no healthy endpoint, no such port, an identity that
/// does not parse: refused) and open outside it (an unknown destination passes through in
/// plaintext).
Route decideRoute(const Tables& tables, const Workload& source, const Endpoint& destination,
                  Random& random);

}  // namespace weft::proxy
