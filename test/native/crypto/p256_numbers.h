// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>
#include <openssl/bn.h>
#include <openssl/ec.h>

#include <random>

#include "crypto/mb8.h"

/// Numbers and points of P-256 by the TLS library, to make inputs from and to compare with.
namespace weft::crypto::test {

using Number = bssl::UniquePtr<BIGNUM>;
using Point = bssl::UniquePtr<EC_POINT>;

inline BN_CTX* context() {
  static const bssl::UniquePtr<BN_CTX> kContext(BN_CTX_new());
  return kContext.get();
}

inline const EC_GROUP* group() {
  return EC_group_p256();
}

inline Number numberOfHex(const char* hex) {
  BIGNUM* number = nullptr;
  REQUIRE(BN_hex2bn(&number, hex) != 0);
  return Number(number);
}

inline Number numberOf(const Bytes32& bytes) {
  return Number(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
}

inline Number numberOf(uint64_t small) {
  Number number(BN_new());
  REQUIRE(BN_set_u64(number.get(), small) == 1);
  return number;
}

inline Bytes32 bytesOf(const BIGNUM* number) {
  Bytes32 bytes{};
  REQUIRE(BN_bn2bin_padded(bytes.data(), bytes.size(), number) == 1);
  return bytes;
}

inline Number sum(const BIGNUM* a, const BIGNUM* b) {
  Number out(BN_new());
  REQUIRE(BN_add(out.get(), a, b) == 1);
  return out;
}

inline Number difference(const BIGNUM* a, const BIGNUM* b) {
  Number out(BN_new());
  REQUIRE(BN_sub(out.get(), a, b) == 1);
  return out;
}

inline Number copyOf(const Number& a) {
  return Number(BN_dup(a.get()));
}

inline const BIGNUM* order() {
  return EC_GROUP_get0_order(group());
}

inline const BIGNUM* prime() {
  static const Number kPrime =
      numberOfHex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
  return kPrime.get();
}

inline Number modulo(const BIGNUM* a, const BIGNUM* modulus) {
  Number out(BN_new());
  REQUIRE(BN_nnmod(out.get(), a, modulus, context()) == 1);
  return out;
}

inline Number product(const BIGNUM* a, const BIGNUM* b, const BIGNUM* modulus) {
  Number out(BN_new());
  REQUIRE(BN_mod_mul(out.get(), a, b, modulus, context()) == 1);
  return out;
}

/// 1 / a; null where there is none.
inline Number reciprocal(const BIGNUM* a, const BIGNUM* modulus) {
  return Number(BN_mod_inverse(nullptr, a, modulus, context()));
}

/// `count` random numbers below 2^256, always the same ones for one seed.
class RandomNumbers {
 public:
  explicit RandomNumbers(uint64_t seed) : engine_(seed) {}

  Bytes32 bytes() {
    Bytes32 out;
    for (uint8_t& byte : out) {
      byte = static_cast<uint8_t>(engine_());
    }
    return out;
  }
  /// In [1, n-1].
  Number scalar() {
    const Number below = difference(order(), BN_value_one());
    return sum(modulo(numberOf(bytes()).get(), below.get()).get(), BN_value_one());
  }
  uint64_t word() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

/// a * G + b * q.
inline Point combination(const BIGNUM* a, const EC_POINT* q, const BIGNUM* b) {
  Point out(EC_POINT_new(group()));
  REQUIRE(EC_POINT_mul(group(), out.get(), a, q, b, context()) == 1);
  return out;
}

/// The point with this x and an even y; null where there is none.
inline Point pointAt(const BIGNUM* x) {
  Point out(EC_POINT_new(group()));
  const bool is = EC_POINT_set_compressed_coordinates_GFp(group(), out.get(), x, 0, context()) == 1;
  return is ? std::move(out) : nullptr;
}

/// The point with the least x that is at least `from`.
inline Point pointFrom(Number from) {
  for (;;) {
    if (Point point = pointAt(from.get())) {
      return point;
    }
    from = sum(from.get(), BN_value_one());
  }
}

/// Its coordinates. It is not infinity.
inline P256Point coordinatesOf(const EC_POINT* point) {
  const Number x(BN_new());
  const Number y(BN_new());
  REQUIRE(EC_POINT_get_affine_coordinates_GFp(group(), point, x.get(), y.get(), context()) == 1);
  return {bytesOf(x.get()), bytesOf(y.get())};
}

}  // namespace weft::crypto::test
