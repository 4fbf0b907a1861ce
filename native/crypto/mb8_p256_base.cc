// SPDX-License-Identifier: Apache-2.0
// Signatures and keys by the library's own multiplication of P-256's base point, one at a time.
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/nid.h>

#include <algorithm>
#include <array>

#include "crypto/mb8_portable.h"
#include "crypto/p256_range.h"

namespace weft::crypto::portable {
namespace {

// The library overwrites what it frees.
using Number = bssl::UniquePtr<BIGNUM>;

Number numberOf(const Bytes32& bytes) {
  return Number(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
}

bool sign(EcdsaSign& operation) {
  if (!isP256Scalar(operation.privateKey) || !isP256Scalar(operation.nonce)) {
    return false;
  }
  const bssl::UniquePtr<EC_KEY> key(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
  const Number privateKey = numberOf(operation.privateKey);
  if (!key || !privateKey || EC_KEY_set_private_key(key.get(), privateKey.get()) != 1) {
    return false;
  }
  // From the nonce on this is the code of ECDSA_do_sign. The name warns of nonces that are known or
  // used twice, which are the caller's matter here.
  const bssl::UniquePtr<ECDSA_SIG> signature(ECDSA_sign_with_nonce_and_leak_private_key_for_testing(
      operation.digest.data(), operation.digest.size(), key.get(), operation.nonce.data(),
      operation.nonce.size()));
  return signature != nullptr &&
         BN_bn2bin_padded(operation.r.data(), operation.r.size(),
                          ECDSA_SIG_get0_r(signature.get())) == 1 &&
         BN_bn2bin_padded(operation.s.data(), operation.s.size(),
                          ECDSA_SIG_get0_s(signature.get())) == 1;
}

bool multiply(P256Keygen& operation) {
  if (!isP256Scalar(operation.privateKey)) {
    return false;
  }
  const EC_GROUP* const group = EC_group_p256();
  const bssl::UniquePtr<EC_POINT> point(EC_POINT_new(group));
  const Number privateKey = numberOf(operation.privateKey);
  std::array<uint8_t, 65> bytes;
  if (!point || !privateKey ||
      EC_POINT_mul(group, point.get(), privateKey.get(), nullptr, nullptr, nullptr) != 1 ||
      EC_POINT_point2oct(group, point.get(), POINT_CONVERSION_UNCOMPRESSED, bytes.data(),
                         bytes.size(), nullptr) != bytes.size()) {
    return false;
  }
  std::copy_n(bytes.begin() + 1, 32, operation.publicKey.x.begin());
  std::copy_n(bytes.begin() + 33, 32, operation.publicKey.y.begin());
  return true;
}

}  // namespace

void ecdsaSign(std::span<EcdsaSign* const> operations) {
  for (EcdsaSign* const each : operations) {
    each->ok = sign(*each);
    if (!each->ok) {
      each->r.fill(0);
      each->s.fill(0);
    }
  }
  ERR_clear_error();
}

void p256Keygen(std::span<P256Keygen* const> operations) {
  for (P256Keygen* const each : operations) {
    each->ok = multiply(*each);
    if (!each->ok) {
      each->publicKey = {};
    }
  }
  ERR_clear_error();
}

}  // namespace weft::crypto::portable
