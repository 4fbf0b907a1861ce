// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/bn.h>
#include <openssl/bytestring.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tls/identity.h"

namespace weft::test {

/// The Unix time at which the tests take place.
inline constexpr int64_t kNow = 1'800'000'000;
inline constexpr int64_t kHour = 3600;

using Bytes = std::vector<uint8_t>;

/// For what can only fail when the test itself is wrong. (CHECK is doctest's name here.)
inline void need(bool condition) {
  if (!condition) {
    std::abort();
  }
}

/// What goes into a certificate. The extensions are in the notation of X509V3_EXT_nconf_nid(); an
/// empty one is left out.
struct CertificateRecipe {
  std::string names;  ///< "URI:spiffe://cluster.local/ns/a/sa/b"
  std::string constraints = "critical,CA:FALSE";
  std::string usage = "critical,digitalSignature";
  std::string extendedUsage = "serverAuth,clientAuth";
  int64_t notBefore = kNow - kHour;
  int64_t notAfter = kNow + 24 * kHour;
};

enum class KeyKind { kP256, kP384, kP521, kEd25519, kRsa2048 };

inline bssl::UniquePtr<EVP_PKEY> newKeyOn(int curve) {
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  const bssl::UniquePtr<EC_KEY> ec(EC_KEY_new_by_curve_name(curve));
  need(EC_KEY_generate_key(ec.get()) == 1);
  need(EVP_PKEY_set1_EC_KEY(key.get(), ec.get()) == 1);
  return key;
}

inline bssl::UniquePtr<EVP_PKEY> newEd25519Key() {
  const bssl::UniquePtr<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, nullptr));
  EVP_PKEY* made = nullptr;
  need(EVP_PKEY_keygen_init(context.get()) == 1 && EVP_PKEY_keygen(context.get(), &made) == 1);
  return bssl::UniquePtr<EVP_PKEY>(made);
}

inline bssl::UniquePtr<EVP_PKEY> newRsaKey() {
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  const bssl::UniquePtr<BIGNUM> exponent(BN_new());
  const bssl::UniquePtr<RSA> rsa(RSA_new());
  need(BN_set_word(exponent.get(), RSA_F4) == 1 &&
       RSA_generate_key_ex(rsa.get(), 2048, exponent.get(), nullptr) == 1 &&
       EVP_PKEY_set1_RSA(key.get(), rsa.get()) == 1);
  return key;
}

inline bssl::UniquePtr<EVP_PKEY> newKey(KeyKind kind = KeyKind::kP256) {
  switch (kind) {
    case KeyKind::kP384:
      return newKeyOn(NID_secp384r1);
    case KeyKind::kP521:
      return newKeyOn(NID_secp521r1);
    case KeyKind::kEd25519:
      return newEd25519Key();
    case KeyKind::kRsa2048:
      return newRsaKey();
    case KeyKind::kP256:
      break;
  }
  return newKeyOn(NID_X9_62_prime256v1);
}

inline Bytes pkcs8Of(const EVP_PKEY* key) {
  CBB cbb;
  uint8_t* out = nullptr;
  size_t length = 0;
  need(CBB_init(&cbb, 0) == 1 && EVP_marshal_private_key(&cbb, key) == 1 &&
       CBB_finish(&cbb, &out, &length) == 1);
  Bytes bytes(out, out + length);
  OPENSSL_free(out);
  return bytes;
}

inline Bytes derOf(X509* certificate) {
  uint8_t* out = nullptr;
  const int length = i2d_X509(certificate, &out);
  need(length > 0);
  Bytes bytes(out, out + length);
  OPENSSL_free(out);
  return bytes;
}

/// A certificate authority for tests: a self-signed root, or one below another.
class TestCa {
 public:
  explicit TestCa(const std::string& name = "root", int64_t notAfter = kNow + 1000 * kHour)
      : TestCa(name, nullptr, notAfter, KeyKind::kP256) {}
  TestCa(const std::string& name, const TestCa& parent, int64_t notAfter = kNow + 1000 * kHour)
      : TestCa(name, &parent, notAfter, KeyKind::kP256) {}
  explicit TestCa(KeyKind kind) : TestCa("root", nullptr, kNow + 1000 * kHour, kind) {}

  Bytes der() const { return derOf(certificate_.get()); }

  /// A leaf for `key`.
  Bytes issue(const CertificateRecipe& recipe, EVP_PKEY* key) const {
    return derOf(make("leaf", recipe, key, certificate_.get(), key_.get()).get());
  }

  /// What the control plane would send for `spiffeId`; the recipe's own names win.
  tls::IdentityMaterial material(const std::string& spiffeId, CertificateRecipe recipe = {},
                                 KeyKind kind = KeyKind::kP256) const {
    const bssl::UniquePtr<EVP_PKEY> key = newKey(kind);
    if (recipe.names.empty()) {
      recipe.names = "URI:" + spiffeId;
    }
    return {spiffeId, {issue(recipe, key.get())}, pkcs8Of(key.get()), {der()}};
  }

  std::shared_ptr<const tls::Identity> identity(const std::string& spiffeId,
                                                CertificateRecipe recipe = {},
                                                KeyKind kind = KeyKind::kP256) const {
    auto made = tls::Identity::create(material(spiffeId, std::move(recipe), kind));
    need(made.ok());
    return std::move(made).value();
  }

 private:
  TestCa(const std::string& name, const TestCa* parent, int64_t notAfter, KeyKind kind)
      : key_(newKey(kind)) {
    CertificateRecipe recipe;
    recipe.constraints = "critical,CA:TRUE";
    recipe.usage = "critical,keyCertSign,cRLSign";
    recipe.extendedUsage.clear();
    recipe.notBefore = 0;  // an engine under test goes by the real clock
    recipe.notAfter = notAfter;
    certificate_ = make(name, recipe, key_.get(), parent ? parent->certificate_.get() : nullptr,
                        parent ? parent->key_.get() : key_.get());
  }

  static void extend(X509* certificate, int nid, const std::string& value) {
    if (value.empty()) {
      return;
    }
    X509V3_CTX context;
    X509V3_set_ctx(&context, nullptr, certificate, nullptr, nullptr, 0);
    const bssl::UniquePtr<X509_EXTENSION> extension(
        X509V3_EXT_nconf_nid(nullptr, &context, nid, value.c_str()));
    need(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
  }

  // Self-signed when `issuer` is null.
  static bssl::UniquePtr<X509> make(const std::string& name, const CertificateRecipe& recipe,
                                    EVP_PKEY* key, X509* issuer, EVP_PKEY* issuerKey) {
    static int64_t serial = 1;
    bssl::UniquePtr<X509> made(X509_new());
    need(X509_set_version(made.get(), X509_VERSION_3) == 1);
    ASN1_INTEGER_set_int64(X509_get_serialNumber(made.get()), serial++);
    ASN1_TIME_set_posix(X509_getm_notBefore(made.get()), recipe.notBefore);
    ASN1_TIME_set_posix(X509_getm_notAfter(made.get()), recipe.notAfter);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const uint8_t*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(made.get(), X509_get_subject_name(issuer ? issuer : made.get()));
    need(X509_set_pubkey(made.get(), key) == 1);
    extend(made.get(), NID_basic_constraints, recipe.constraints);
    extend(made.get(), NID_key_usage, recipe.usage);
    extend(made.get(), NID_ext_key_usage, recipe.extendedUsage);
    extend(made.get(), NID_subject_alt_name, recipe.names);
    // Ed25519 hashes by itself.
    const bool hashes = EVP_PKEY_id(issuerKey) == EVP_PKEY_ED25519;
    need(X509_sign(made.get(), issuerKey, hashes ? nullptr : EVP_sha256()) > 0);
    return made;
  }

  bssl::UniquePtr<EVP_PKEY> key_;
  bssl::UniquePtr<X509> certificate_;
};

}  // namespace weft::test
