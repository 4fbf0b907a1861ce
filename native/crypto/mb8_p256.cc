// SPDX-License-Identifier: Apache-2.0
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/nid.h>

#include "base/check.h"
#include "crypto/mb8_portable.h"

namespace weft::crypto::portable {
namespace {

bssl::UniquePtr<BIGNUM> numberOf(const Bytes32& bytes) {
  bssl::UniquePtr<BIGNUM> number(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
  CHECK(number != nullptr);
  return number;
}

/// Null where there is no such point of the curve.
bssl::UniquePtr<EC_POINT> pointOf(const P256Point& from) {
  const EC_GROUP* group = EC_group_p256();
  bssl::UniquePtr<EC_POINT> point(EC_POINT_new(group));
  CHECK(point != nullptr);
  const bssl::UniquePtr<BIGNUM> x = numberOf(from.x);
  const bssl::UniquePtr<BIGNUM> y = numberOf(from.y);
  if (EC_POINT_set_affine_coordinates_GFp(group, point.get(), x.get(), y.get(), nullptr) == 0) {
    return nullptr;
  }
  return point;
}

bssl::UniquePtr<EC_KEY> newKey() {
  bssl::UniquePtr<EC_KEY> key(EC_KEY_new());
  CHECK(key != nullptr && EC_KEY_set_group(key.get(), EC_group_p256()) == 1);
  return key;
}

bool verify(const EcdsaVerify& operation) {
  const bssl::UniquePtr<EC_POINT> point = pointOf(operation.publicKey);
  if (point == nullptr) {
    return false;
  }
  const bssl::UniquePtr<EC_KEY> key = newKey();
  CHECK(EC_KEY_set_public_key(key.get(), point.get()) == 1);
  const bssl::UniquePtr<ECDSA_SIG> signature(ECDSA_SIG_new());
  CHECK(signature != nullptr);
  CHECK(ECDSA_SIG_set0(signature.get(), numberOf(operation.r).release(),
                       numberOf(operation.s).release()) == 1);
  return ECDSA_do_verify(operation.digest.data(), operation.digest.size(), signature.get(),
                         key.get()) == 1;
}

bool derive(P256Derive& operation) {
  operation.shared = {};
  const bssl::UniquePtr<EC_POINT> peer = pointOf(operation.peerPublic);
  if (peer == nullptr) {
    return false;
  }
  const EC_GROUP* group = EC_group_p256();
  const bssl::UniquePtr<EC_POINT> shared(EC_POINT_new(group));
  const bssl::UniquePtr<BIGNUM> scalar = numberOf(operation.privateKey);
  const bssl::UniquePtr<BIGNUM> x(BN_new());
  const bssl::UniquePtr<BIGNUM> y(BN_new());
  CHECK(shared != nullptr && x != nullptr && y != nullptr);
  const bool ok =
      BN_is_zero(scalar.get()) == 0 && BN_cmp(scalar.get(), EC_GROUP_get0_order(group)) < 0 &&
      EC_POINT_mul(group, shared.get(), nullptr, peer.get(), scalar.get(), nullptr) == 1 &&
      EC_POINT_get_affine_coordinates_GFp(group, shared.get(), x.get(), y.get(), nullptr) == 1 &&
      BN_bn2bin_padded(operation.shared.x.data(), sizeof(Bytes32), x.get()) == 1 &&
      BN_bn2bin_padded(operation.shared.y.data(), sizeof(Bytes32), y.get()) == 1;
  for (BIGNUM* const secret : {scalar.get(), x.get(), y.get()}) {
    BN_clear(secret);
  }
  return ok;
}

}  // namespace

void ecdsaVerify(std::span<EcdsaVerify* const> operations) {
  for (EcdsaVerify* const each : operations) {
    each->ok = verify(*each);
  }
  ERR_clear_error();
}

void p256Derive(std::span<P256Derive* const> operations) {
  for (P256Derive* const each : operations) {
    each->ok = derive(*each);
  }
  ERR_clear_error();
}

}  // namespace weft::crypto::portable
