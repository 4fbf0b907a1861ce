// SPDX-License-Identifier: Apache-2.0
#include "crypto/order.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/nid.h>

#include <charconv>

#include "base/check.h"

namespace weft::crypto::order {
namespace {

struct Context {
  bssl::UniquePtr<BN_CTX> bn{BN_CTX_new()};
  bssl::UniquePtr<BIGNUM> prime{BN_new()};
  const EC_GROUP* group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);

  Context() { CHECK(EC_GROUP_get_curve_GFp(group, prime.get(), nullptr, nullptr, nullptr)); }
  const BIGNUM* n() const { return EC_GROUP_get0_order(group); }
};

Context& context() {
  thread_local Context it;
  return it;
}

bssl::UniquePtr<BIGNUM> numberOf(const Bytes32& bytes) {
  return bssl::UniquePtr<BIGNUM>(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
}

Bytes32 bytesOf(const BIGNUM* number) {
  Bytes32 bytes;
  CHECK(BN_bn2bin_padded(bytes.data(), bytes.size(), number));
  return bytes;
}

}  // namespace

Bytes32 fromHex(std::string_view hex) {
  Bytes32 bytes{};
  CHECK(hex.size() == 2 * bytes.size());
  for (size_t i = 0; i < bytes.size(); i++) {
    std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, bytes[i], 16);
  }
  return bytes;
}

Bytes32 product(const Bytes32& a, const Bytes32& b) {
  bssl::UniquePtr<BIGNUM> out(BN_new());
  CHECK(BN_mod_mul(out.get(), numberOf(a).get(), numberOf(b).get(), context().n(),
                   context().bn.get()));
  return bytesOf(out.get());
}

Bytes32 negative(const Bytes32& a) {
  bssl::UniquePtr<BIGNUM> zero(BN_new());
  bssl::UniquePtr<BIGNUM> out(BN_new());
  CHECK(BN_mod_sub(out.get(), zero.get(), numberOf(a).get(), context().n(), context().bn.get()));
  return bytesOf(out.get());
}

Bytes32 inverse(const Bytes32& a) {
  bssl::UniquePtr<BIGNUM> out(BN_new());
  CHECK(BN_mod_inverse(out.get(), numberOf(a).get(), context().n(), context().bn.get()) != nullptr);
  return bytesOf(out.get());
}

bool plusPrime(const Bytes32& a, Bytes32& sum) {
  bssl::UniquePtr<BIGNUM> out(BN_new());
  CHECK(BN_add(out.get(), numberOf(a).get(), context().prime.get()));
  return BN_bn2bin_padded(sum.data(), sum.size(), out.get()) == 1;
}

Bytes32 primeMinus(const Bytes32& a) {
  bssl::UniquePtr<BIGNUM> out(BN_new());
  const Context& it = context();
  CHECK(BN_mod_sub(out.get(), it.prime.get(), numberOf(a).get(), it.prime.get(), it.bn.get()));
  return bytesOf(out.get());
}

bool combination(const Bytes32& a, const Bytes32& b, const P256Point& point, P256Point& sum) {
  const Context& it = context();
  bssl::UniquePtr<EC_POINT> q(EC_POINT_new(it.group));
  bssl::UniquePtr<EC_POINT> out(EC_POINT_new(it.group));
  CHECK(EC_POINT_set_affine_coordinates_GFp(it.group, q.get(), numberOf(point.x).get(),
                                            numberOf(point.y).get(), it.bn.get()));
  CHECK(EC_POINT_mul(it.group, out.get(), numberOf(a).get(), q.get(), numberOf(b).get(),
                     it.bn.get()));
  if (EC_POINT_is_at_infinity(it.group, out.get())) {
    return false;
  }
  bssl::UniquePtr<BIGNUM> x(BN_new());
  bssl::UniquePtr<BIGNUM> y(BN_new());
  CHECK(EC_POINT_get_affine_coordinates_GFp(it.group, out.get(), x.get(), y.get(), it.bn.get()));
  sum = {bytesOf(x.get()), bytesOf(y.get())};
  return true;
}

}  // namespace weft::crypto::order
