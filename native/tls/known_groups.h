// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

namespace weft::tls {

/// Which peers took a classical key exchange although the hybrid with ML-KEM was offered, by a name
/// of the caller's for the way to them. The library cannot name the hybrid without a key share for
/// it, so these are not offered it for a while: an ML-KEM key pair and 1.2 KB less for each
/// handshake. Not thread safe. Bounded: a full one begins anew.
class KnownGroups {
 public:
  /// After so long the hybrid is offered again.
  static constexpr int64_t kKnownSeconds = 3600;

  explicit KnownGroups(size_t peersMax = 4096) : peersMax_(peersMax) {}

  /// A peer that was offered both took the classical one.
  void tookClassical(const std::string& peer, int64_t nowSeconds);
  bool classical(const std::string& peer, int64_t nowSeconds) const;
  /// A handshake failed: the peer may want the hybrid now.
  void forget(const std::string& peer) { since_.erase(peer); }
  size_t size() const { return since_.size(); }

 private:
  size_t peersMax_;
  std::unordered_map<std::string, int64_t> since_;
};

}  // namespace weft::tls
