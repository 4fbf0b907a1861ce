// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>

#include "crypto/mb8.h"

namespace weft::crypto {

/// Inputs by chance, the same ones for the same seed. About half of them are edges: numbers beside
/// 0, n, p and 2^256, long runs of ones, points off the curve or with a coordinate of p or more,
/// points of low order, signatures of which something was changed.
class Draw {
 public:
  explicit Draw(uint64_t seed) : engine_(seed) {}

  /// One of 0 to `count` - 1.
  uint64_t below(uint64_t count) { return engine_() % count; }
  Bytes32 bytes();
  /// Big-endian.
  Bytes32 number();
  /// Big-endian, in [1, n-1].
  Bytes32 scalar();
  /// Little-endian.
  Bytes32 coordinate25519();
  P256Point point();

  void fill(X25519Derive& operation);
  void fill(X25519Keygen& operation);
  void fill(EcdsaVerify& operation);
  void fill(EcdsaSign& operation);
  void fill(P256Keygen& operation);
  void fill(P256Derive& operation);

 private:
  Bytes32 runs();
  P256Point validPoint();
  void change(EcdsaVerify& operation);

  std::mt19937_64 engine_;
};

}  // namespace weft::crypto
