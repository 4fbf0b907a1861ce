// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::crypto {

/// Operations that one call of a kernel takes at most: one in each 64-bit lane of a 512-bit
/// register.
constexpr size_t kLanes = 8;

/// A number of 256 bits. Little-endian for X25519 (RFC 7748), big-endian for P-256 (SEC 1).
using Bytes32 = std::array<uint8_t, 32>;

/// A point of P-256 by its affine coordinates. The point at infinity has none.
struct P256Point {
  Bytes32 x;
  Bytes32 y;
};

/// X25519 (RFC 7748 section 5): clamps `privateKey`, ignores the top bit of `peerPublic`.
struct X25519Derive {
  Bytes32 privateKey;  ///< Secret.
  Bytes32 peerPublic;
  Bytes32 shared;   ///< Out, secret.
  bool ok = false;  ///< Out. False where `shared` is all zeros (section 6.1).
};

/// The public key of `privateKey`, which is clamped.
struct X25519Keygen {
  Bytes32 privateKey;  ///< Secret; the caller's random bytes.
  Bytes32 publicKey;   ///< Out.
};

/// FIPS 186-5 section 6.4.2. Nothing of it is secret.
struct EcdsaVerify {
  Bytes32 digest;
  Bytes32 r;
  Bytes32 s;
  P256Point publicKey;
  bool ok = false;  ///< Out. False for any r or s outside [1, n-1] and a key that is no point of
                    ///< the curve, too.
};

/// FIPS 186-5 section 6.4.1.
struct EcdsaSign {
  Bytes32 digest;
  Bytes32 privateKey;  ///< Secret, in [1, n-1].
  Bytes32 nonce;       ///< Secret, in [1, n-1], never used twice.
  Bytes32 r;           ///< Out.
  Bytes32 s;           ///< Out.
  bool ok =
      false;  ///< Out. False where r or s is 0, or an input is out of range: take another nonce.
};

/// The public key of `privateKey`.
struct P256Keygen {
  Bytes32 privateKey;   ///< Secret, in [1, n-1].
  P256Point publicKey;  ///< Out.
  bool ok = false;      ///< Out. False where `privateKey` is out of range.
};

/// ECDH (SP 800-56A section 5.7.1.2).
struct P256Derive {
  Bytes32 privateKey;  ///< Secret, in [1, n-1].
  P256Point peerPublic;
  P256Point shared;  ///< Out, secret.
  bool ok = false;  ///< Out. False where `peerPublic` is no point of the curve, or `privateKey` out
                    ///< of range.
};

/// One way to compute each operation. A function takes 1 to kLanes operations, all different, and
/// sets what is marked as out in each; lanes without one compute something valid that is thrown
/// away. No branch and no address depends on what is marked as secret, and copies of it that a
/// function made are wiped. Any thread may call; nothing is kept between calls, nor left in the TLS
/// library's error queue.
struct Kernels {
  const char* name;
  void (*x25519Derive)(std::span<X25519Derive* const> operations);
  void (*x25519Keygen)(std::span<X25519Keygen* const> operations);
  void (*ecdsaVerify)(std::span<EcdsaVerify* const> operations);
  void (*ecdsaSign)(std::span<EcdsaSign* const> operations);
  void (*p256Keygen)(std::span<P256Keygen* const> operations);
  void (*p256Derive)(std::span<P256Derive* const> operations);
};

/// One operation after the other, by the TLS library's own.
const Kernels& portableKernels();
/// Eight at once by AVX-512 IFMA; null where the processor or the system does not have it.
const Kernels* avx512Kernels();

}  // namespace weft::crypto
