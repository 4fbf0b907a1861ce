// SPDX-License-Identifier: Apache-2.0
// Stands between the TLS library and its own public-key operations: the linker leads what the
// library calls to the functions here (--wrap, in CMakeLists.txt). On a fiber they are queued in
// its batch; anywhere else, and for anything but P-256 with SHA-256, the library's own run.
#include <openssl/bn.h>
#include <openssl/bytestring.h>
#include <openssl/curve25519.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/check.h"
#include "crypto/batch.h"
#include "crypto/key_shares.h"
#include "crypto/nonce.h"

extern "C" {
int __real_X25519(uint8_t* shared, const uint8_t* privateKey, const uint8_t* peerPublic);
void __real_X25519_keypair(uint8_t* publicKey, uint8_t* privateKey);
int __real_EVP_DigestSign(EVP_MD_CTX* context, uint8_t* signature, size_t* size,
                          const uint8_t* data, size_t dataSize);
int __real_EVP_DigestVerify(EVP_MD_CTX* context, const uint8_t* signature, size_t size,
                            const uint8_t* data, size_t dataSize);
int __real_EC_POINT_mul(const EC_GROUP* group, EC_POINT* result, const BIGNUM* generatorScalar,
                        const EC_POINT* point, const BIGNUM* pointScalar, BN_CTX* context);
}

namespace weft::crypto {
namespace {

/// Operands that are wiped when they go.
template <typename T>
struct Wiped : T {
  Wiped() : T{} {}
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  ~Wiped() { OPENSSL_cleanse(static_cast<T*>(this), sizeof(T)); }
};

bool isP256(const EC_GROUP* group) {
  return group != nullptr && EC_GROUP_get_curve_name(group) == NID_X9_62_prime256v1;
}

/// The key that `context` signs or verifies with; null unless it is of P-256, with SHA-256.
const EC_KEY* p256KeyOf(EVP_MD_CTX* context) {
  EVP_PKEY_CTX* const keyContext = EVP_MD_CTX_get_pkey_ctx(context);
  const EVP_MD* const digest = EVP_MD_CTX_md(context);
  if (keyContext == nullptr || digest == nullptr || EVP_MD_type(digest) != NID_sha256) {
    return nullptr;
  }
  EVP_PKEY* const key = EVP_PKEY_CTX_get0_pkey(keyContext);
  if (key == nullptr || EVP_PKEY_id(key) != EVP_PKEY_EC) {
    return nullptr;  // to ask another kind for a curve would leave an error in the queue
  }
  const EC_KEY* const ecKey = EVP_PKEY_get0_EC_KEY(key);
  return ecKey != nullptr && isP256(EC_KEY_get0_group(ecKey)) ? ecKey : nullptr;
}

bool toBytes(const BIGNUM* number, Bytes32& bytes) {
  return number != nullptr && BN_bn2bin_padded(bytes.data(), bytes.size(), number) == 1;
}

/// Of what `context` has taken and `data`; the context stays as it is.
bool digestOf(const EVP_MD_CTX* context, const uint8_t* data, size_t size, Bytes32& digest) {
  bssl::ScopedEVP_MD_CTX copy;
  EVP_MD_CTX* const own = copy.get();
  unsigned written = 0;
  return EVP_MD_CTX_copy_ex(own, context) == 1 && EVP_DigestUpdate(own, data, size) == 1 &&
         EVP_DigestFinal_ex(own, digest.data(), &written) == 1 && written == digest.size();
}

bool toPoint(const EC_GROUP* group, const EC_POINT* from, P256Point& point) {
  std::array<uint8_t, 1 + 2 * sizeof(Bytes32)> encoded{};
  if (EC_POINT_point2oct(group, from, POINT_CONVERSION_UNCOMPRESSED, encoded.data(), encoded.size(),
                         nullptr) != encoded.size()) {
    return false;
  }
  std::copy_n(encoded.begin() + 1, sizeof(Bytes32), point.x.begin());
  std::copy_n(encoded.begin() + 1 + sizeof(Bytes32), sizeof(Bytes32), point.y.begin());
  return true;
}

bool fromPoint(const EC_GROUP* group, const P256Point& point, EC_POINT* to) {
  std::array<uint8_t, 1 + 2 * sizeof(Bytes32)> encoded{};
  encoded[0] = POINT_CONVERSION_UNCOMPRESSED;
  std::copy(point.x.begin(), point.x.end(), encoded.begin() + 1);
  std::copy(point.y.begin(), point.y.end(), encoded.begin() + 1 + sizeof(Bytes32));
  return EC_POINT_oct2point(group, to, encoded.data(), encoded.size(), nullptr) == 1;
}

/// DER only (RFC 3279 section 2.2.3), as ECDSA_verify() takes it.
bool parseSignature(const uint8_t* der, size_t size, EcdsaVerify& operands) {
  const bssl::UniquePtr<ECDSA_SIG> signature(ECDSA_SIG_from_bytes(der, size));
  if (signature == nullptr) {
    return false;
  }
  uint8_t* again = nullptr;
  size_t againSize = 0;
  if (ECDSA_SIG_to_bytes(&again, &againSize, signature.get()) != 1) {
    return false;
  }
  const bssl::UniquePtr<uint8_t> owned(again);
  return againSize == size && std::equal(again, again + againSize, der) &&
         toBytes(ECDSA_SIG_get0_r(signature.get()), operands.r) &&
         toBytes(ECDSA_SIG_get0_s(signature.get()), operands.s);
}

bool encodeSignature(const EcdsaSign& operands, uint8_t* der, size_t* size) {
  const bssl::UniquePtr<ECDSA_SIG> signature(ECDSA_SIG_new());
  bssl::UniquePtr<BIGNUM> r(BN_bin2bn(operands.r.data(), operands.r.size(), nullptr));
  bssl::UniquePtr<BIGNUM> s(BN_bin2bn(operands.s.data(), operands.s.size(), nullptr));
  if (signature == nullptr || r == nullptr || s == nullptr ||
      ECDSA_SIG_set0(signature.get(), r.get(), s.get()) != 1) {
    return false;
  }
  r.release();
  s.release();
  CBB out;
  return CBB_init_fixed(&out, der, *size) == 1 && ECDSA_SIG_marshal(&out, signature.get()) == 1 &&
         CBB_finish(&out, nullptr, size) == 1;
}

/// Queues it; where it is to be done alone, `real` does it, as the library would have.
template <typename Operands, typename Prepare, typename Real, typename Taken>
int computeOn(Batch& batch, Operation operation, Operands& operands, Prepare prepare, Real real,
              Taken taken) {
  // Outside of the fiber, whose error is not the thread's: `real` makes it again, where it belongs.
  const auto quietly = [&prepare] {
    ERR_set_mark();
    const bool prepared = prepare();
    ERR_pop_to_mark();
    return prepared;
  };
  switch (batch.compute(operation, operands, quietly)) {
    case Answer::kComputed:
      return taken() ? 1 : 0;
    case Answer::kAlone:
      return batch.alone(operation, real);
    case Answer::kAbandoned:
      break;
  }
  return 0;
}

}  // namespace
}  // namespace weft::crypto

using namespace weft::crypto;  // NOLINT(google-build-using-namespace): what the seam is made of

// The names are the linker's.
// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
extern "C" {

int __wrap_X25519(uint8_t* shared, const uint8_t* privateKey, const uint8_t* peerPublic) {
  const auto real = [&] { return __real_X25519(shared, privateKey, peerPublic); };
  Batch* const batch = Batch::current();
  if (batch == nullptr) {
    return real();
  }
  Wiped<X25519Derive> operands;
  const auto prepare = [&] {
    std::copy_n(privateKey, operands.privateKey.size(), operands.privateKey.begin());
    std::copy_n(peerPublic, operands.peerPublic.size(), operands.peerPublic.begin());
    return true;
  };
  return computeOn(*batch, Operation::kX25519Derive, operands, prepare, real, [&] {
    std::copy(operands.shared.begin(), operands.shared.end(), shared);
    return operands.ok;
  });
}

void __wrap_X25519_keypair(uint8_t* publicKey, uint8_t* privateKey) {
  const auto real = [&] {
    __real_X25519_keypair(publicKey, privateKey);
    return 1;
  };
  Batch* const batch = Batch::current();
  if (batch == nullptr) {
    real();
    return;
  }
  Wiped<X25519Keygen> operands;
  const auto prepare = [&] { return randomPrivateKey(operands); };
  const auto taken = [&] {
    std::copy(operands.privateKey.begin(), operands.privateKey.end(), privateKey);
    std::copy(operands.publicKey.begin(), operands.publicKey.end(), publicKey);
    return true;
  };
  if (batch->takeShare(operands)) {
    taken();
    return;
  }
  if (computeOn(*batch, Operation::kX25519Keygen, operands, prepare, real, taken) == 0) {
    // Abandoned: its handshake is over, and nobody sees the key.
    std::fill_n(publicKey, operands.publicKey.size(), uint8_t{0});
    std::fill_n(privateKey, operands.privateKey.size(), uint8_t{0});
  }
}

int __wrap_EVP_DigestSign(EVP_MD_CTX* context, uint8_t* signature, size_t* size,
                          const uint8_t* data, size_t dataSize) {
  const auto real = [&] { return __real_EVP_DigestSign(context, signature, size, data, dataSize); };
  Batch* const batch = signature == nullptr ? nullptr : Batch::current();
  const EC_KEY* const key = batch == nullptr ? nullptr : p256KeyOf(context);
  // A key that is not here as a number is signed with elsewhere.
  if (key == nullptr || EC_KEY_get0_private_key(key) == nullptr) {
    return real();
  }
  Wiped<EcdsaSign> operands;
  const auto prepare = [&] {
    return toBytes(EC_KEY_get0_private_key(key), operands.privateKey) &&
           digestOf(context, data, dataSize, operands.digest) &&
           hedgedNonce(operands.privateKey, operands.digest, operands.nonce);
  };
  // One that fails, once in 2^256 or by a fault, is signed again by the library.
  return computeOn(*batch, Operation::kEcdsaSign, operands, prepare, real, [&] {
    return operands.ok ? encodeSignature(operands, signature, size) : real() == 1;
  });
}

int __wrap_EVP_DigestVerify(EVP_MD_CTX* context, const uint8_t* signature, size_t size,
                            const uint8_t* data, size_t dataSize) {
  const auto real = [&] {
    return __real_EVP_DigestVerify(context, signature, size, data, dataSize);
  };
  Batch* const batch = Batch::current();
  const EC_KEY* const key = batch == nullptr ? nullptr : p256KeyOf(context);
  if (key == nullptr) {
    return real();
  }
  EcdsaVerify operands{};
  const auto prepare = [&] {
    return parseSignature(signature, size, operands) &&
           digestOf(context, data, dataSize, operands.digest) &&
           toPoint(EC_KEY_get0_group(key), EC_KEY_get0_public_key(key), operands.publicKey);
  };
  // What is refused the library looks at, too: it says why, as it would have by itself.
  return computeOn(*batch, Operation::kEcdsaVerify, operands, prepare, real,
                   [&] { return operands.ok || real() == 1; });
}

int __wrap_EC_POINT_mul(const EC_GROUP* group, EC_POINT* result, const BIGNUM* generatorScalar,
                        const EC_POINT* point, const BIGNUM* pointScalar, BN_CTX* context) {
  const auto real = [&] {
    return __real_EC_POINT_mul(group, result, generatorScalar, point, pointScalar, context);
  };
  Batch* const batch = isP256(group) ? Batch::current() : nullptr;
  if (batch != nullptr && point == nullptr && generatorScalar != nullptr) {
    Wiped<P256Keygen> operands;
    const auto prepare = [&] { return toBytes(generatorScalar, operands.privateKey); };
    return computeOn(*batch, Operation::kP256Keygen, operands, prepare, real,
                     [&] { return operands.ok && fromPoint(group, operands.publicKey, result); });
  }
  if (batch != nullptr && generatorScalar == nullptr && point != nullptr) {
    Wiped<P256Derive> operands;
    const auto prepare = [&] {
      return toBytes(pointScalar, operands.privateKey) &&
             toPoint(group, point, operands.peerPublic);
    };
    return computeOn(*batch, Operation::kP256Derive, operands, prepare, real,
                     [&] { return operands.ok && fromPoint(group, operands.shared, result); });
  }
  return real();
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
