// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/mb8.h"

namespace weft::crypto {

/// X25519 key shares made before anybody asks, eight at once. Each is used once. One thread's.
///
/// Two processes, or two copies of a virtual machine, that use the same share have the same secret:
/// so their memory is empty in a child (MADV_WIPEONFORK), not in dumps of memory, and a share that
/// is older than kAgeMax is never given, since a machine that is copied goes on from its snapshot.
class KeyShares {
 public:
  static constexpr size_t kSharesMax = 4 * kLanes;
  static constexpr uint64_t kAgeMaxMicros = 1'000'000;

  /// Has no room where the system does not give such memory.
  KeyShares();
  KeyShares(const KeyShares&) = delete;
  KeyShares& operator=(const KeyShares&) = delete;
  /// Wipes what is left.
  ~KeyShares();

  /// A share that nobody else gets; false when there is none.
  bool take(uint64_t nowMicros, X25519Keygen& share);
  /// True when kLanes more have room, and as many were asked for within kAgeMax: else they would
  /// grow too old.
  bool wantsMore(uint64_t nowMicros) const;
  /// Makes kLanes more. False when the system has no random bytes.
  bool make(const Kernels& kernels, uint64_t nowMicros);
  /// Wipes those that are too old.
  void dropOld(uint64_t nowMicros);
  size_t size() const;

 private:
  struct Memory;
  bool hasRoom() const;

  Memory* memory_ = nullptr;
  size_t asked_ = 0;  // since the last ones were made
  uint64_t askedSinceMicros_ = 0;
};

/// The caller's random bytes for a share, in `share`: never as RFC 7748 section 5 decodes them,
/// like the TLS library's own, so that who forgets to decode is found out.
bool randomPrivateKey(X25519Keygen& share);

}  // namespace weft::crypto
