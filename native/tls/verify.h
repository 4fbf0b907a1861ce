// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "tls/identity.h"

namespace weft::tls {

enum class Role { kClient, kServer };  ///< Our own role; the peer has the other one.

/// A peer whose chain was verified.
struct PeerIdentity {
  SpiffeId id;
  int64_t notAfterSeconds = 0;  ///< The earliest on the path.
  std::array<uint8_t, 32> leafSha256{};
  std::string serial;  ///< Of the leaf, as canonicalSerial() has it.
};

/// Why a peer was refused, with the TLS alert (RFC 8446 section 6.2) that says so to the peer.
struct Refusal {
  Status status;
  uint8_t alert = 0;
};

/// Remembers leaves whose chain was verified, so that a further connection from the same peer pays
/// only for its CertificateVerify. One per worker, not thread safe. An entry is keyed by
/// SHA-256(leaf), the identity's epoch (which stands for its bundle) and the role, and ends with
/// the path's earliest notAfter. Bounded: the oldest entries make way.
class VerifiedLeaves {
 public:
  explicit VerifiedLeaves(size_t entriesMax = 4096) : entriesMax_(entriesMax) {}

  const PeerIdentity* find(const std::array<uint8_t, 32>& leaf, const Identity& own, Role role,
                           int64_t nowSeconds) const;
  void remember(const PeerIdentity& peer, const Identity& own, Role role);
  size_t size() const { return entries_.size(); }

 private:
  struct Key {
    std::array<uint8_t, 32> leaf;
    uint64_t epoch;
    Role role;
    auto operator<=>(const Key&) const = default;
  };
  size_t entriesMax_;
  std::map<Key, PeerIdentity> entries_;
  std::vector<Key> order_;  // oldest first; a ring once full
  size_t next_ = 0;
};

/// Verifies `chain` (DER, leaf first, untrusted) against `own`'s bundle at `nowSeconds`: RFC 5280
/// path, validity, EKU for the peer's role, and the X.509-SVID rules (exactly one URI SAN, which is
/// a SPIFFE ID with a path in our own trust domain; cA=false; no keyCertSign or cRLSign). Fails
/// closed: anything that cannot be checked is a refusal.
std::optional<Refusal> verifyPeer(std::span<const std::span<const uint8_t>> chain,
                                  const Identity& own, Role role, int64_t nowSeconds,
                                  VerifiedLeaves& cache, PeerIdentity& peer);

}  // namespace weft::tls
