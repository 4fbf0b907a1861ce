// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "crypto/mb8.h"

/// Nonces for signatures with P-256. One that is used for two digests, or of which a few bits can
/// be guessed, tells the private key.
namespace weft::crypto {

/// A nonce in [1, n-1] for one signature of `digest`: RFC 6979 section 3.2 with HMAC-SHA-256 and 32
/// fresh random bytes as the additional data of section 3.6, so that neither a bad source of chance
/// nor a fault in two signatures of one message gives the key away. `privateKey` is in [1, n-1].
/// The nonce is the caller's to wipe; all else is wiped here. Any thread may call. False when the
/// system has no random bytes.
[[nodiscard]] bool hedgedNonce(const Bytes32& privateKey, const Bytes32& digest, Bytes32& nonce);

/// The nonces of RFC 6979 section 3.2 for one signature, by HMAC-SHA-256.
class NonceGenerator {
 public:
  /// `additional` is that of section 3.6: with none, the nonces are RFC 6979's own.
  NonceGenerator(const Bytes32& privateKey, const Bytes32& digest,
                 std::span<const uint8_t> additional);
  /// Wipes all that it knew.
  ~NonceGenerator();
  NonceGenerator(const NonceGenerator&) = delete;
  NonceGenerator& operator=(const NonceGenerator&) = delete;

  /// The first nonce in [1, n-1]; then, for signatures that had an r or s of 0, the next one.
  void next(Bytes32& nonce);

 private:
  Bytes32 key_;    ///< K.
  Bytes32 value_;  ///< V.
  bool refused_ = false;
};

}  // namespace weft::crypto
