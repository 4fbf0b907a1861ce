// SPDX-License-Identifier: Apache-2.0
#include "tls/identity.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "tls/handshake.h"
#include "tls/svid.h"

namespace weft::tls {
namespace {

/// Roots in one trust bundle: a few generations of a few authorities.
constexpr size_t kRootsMax = 64;
/// A peer's whole certificate list. Real ones are about 1 KiB a certificate; it also bounds every
/// other handshake message, which the library takes up to 16 KiB anyway.
constexpr size_t kPeerChainBytesMax = 16 << 10;

constexpr std::array<uint8_t, 3> kAlpn = {2, 'h', '2'};
constexpr std::array<uint16_t, 7> kSignatureAlgorithms = {
    SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_ED25519,
    SSL_SIGN_RSA_PSS_RSAE_SHA256,    SSL_SIGN_RSA_PSS_RSAE_SHA384,    SSL_SIGN_RSA_PSS_RSAE_SHA512,
    SSL_SIGN_ECDSA_SECP521R1_SHA512,
};

Status invalid(const char* what) {
  ERR_clear_error();
  return Status(Code::kInvalid, std::string("identity: ") + what);
}

class Wipe {
 public:
  explicit Wipe(std::vector<uint8_t>& secret) : secret_(secret) {}
  ~Wipe() { OPENSSL_cleanse(secret_.data(), secret_.size()); }

 private:
  std::vector<uint8_t>& secret_;
};

// Each session sets its own verifier; a session that forgot to must not accept anybody.
ssl_verify_result_t refuseEverybody(SSL*, uint8_t* alert) {
  *alert = SSL_AD_INTERNAL_ERROR;
  return ssl_verify_invalid;
}

// Called only for a client that offers ALPN; one that offers none is taken as h2.
int selectAlpn(SSL*, const uint8_t** out, uint8_t* outLength, const uint8_t* in, unsigned inLength,
               void*) {
  for (unsigned at = 0; at < inLength; at += 1U + in[at]) {
    if (in[at] == 2 && inLength - at >= 3 && std::memcmp(in + at + 1, "h2", 2) == 0) {
      *out = in + at + 1;
      *outLength = 2;
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool configure(SSL_CTX* context, std::span<CRYPTO_BUFFER* const> chain, EVP_PKEY* key) {
  SSL_CTX_set_custom_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                            refuseEverybody);
  SSL_CTX_set_max_cert_list(context, kPeerChainBytesMax);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_early_data_enabled(context, 0);
  // A server's session would else keep the client's whole chain for as long as it lives.
  SSL_CTX_set_retain_only_sha256_of_client_certs(context, 1);
  SSL_CTX_set_alpn_select_cb(context, selectAlpn, nullptr);
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set1_groups_list(context, "X25519:X25519MLKEM768:P-256") == 1 &&
         SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384") == 1 &&
         SSL_CTX_set_verify_algorithm_prefs(context, kSignatureAlgorithms.data(),
                                            kSignatureAlgorithms.size()) == 1 &&
         SSL_CTX_set_alpn_protos(context, kAlpn.data(), kAlpn.size()) == 0 &&
         SSL_CTX_set_chain_and_key(context, chain.data(), chain.size(), key, nullptr) == 1;
}

std::array<uint8_t, 32> contextOf(const SpiffeId& id,
                                  const std::vector<std::vector<uint8_t>>& roots) {
  std::vector<std::array<uint8_t, 32>> digests;
  for (const std::vector<uint8_t>& der : roots) {
    SHA256(der.data(), der.size(), digests.emplace_back().data());
  }
  std::sort(digests.begin(), digests.end());  // a bundle is a set
  SHA256_CTX hash;
  SHA256_Init(&hash);
  for (const std::array<uint8_t, 32>& digest : digests) {
    SHA256_Update(&hash, digest.data(), digest.size());
  }
  SHA256_Update(&hash, id.text.data(), id.text.size());
  std::array<uint8_t, 32> context{};
  SHA256_Final(context.data(), &hash);
  return context;
}

bssl::UniquePtr<EVP_PKEY> parseKey(std::span<const uint8_t> pkcs8) {
  CBS cbs;
  CBS_init(&cbs, pkcs8.data(), pkcs8.size());
  bssl::UniquePtr<EVP_PKEY> key(EVP_parse_private_key(&cbs));
  return CBS_len(&cbs) == 0 ? std::move(key) : nullptr;
}

bssl::UniquePtr<X509_STORE> storeOf(const std::vector<std::vector<uint8_t>>& roots) {
  bssl::UniquePtr<X509_STORE> store(X509_STORE_new());
  if (roots.empty() || roots.size() > kRootsMax || store == nullptr) {
    return nullptr;
  }
  for (const std::vector<uint8_t>& der : roots) {
    const bssl::UniquePtr<X509> root = parseCertificate(der);
    if (root == nullptr || X509_STORE_add_cert(store.get(), root.get()) != 1) {
      return nullptr;
    }
  }
  return store;
}

}  // namespace

Identity::Identity() = default;
Identity::~Identity() = default;

Result<std::shared_ptr<const Identity>> Identity::create(IdentityMaterial material) {
  const Wipe wipe(material.keyPkcs8);
  if (material.chain.empty() || material.chain.size() > kChainCertificatesMax) {
    return invalid("no chain, or too long a one");
  }
  std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> buffers;
  std::vector<CRYPTO_BUFFER*> chain;
  for (const std::vector<uint8_t>& der : material.chain) {
    if (parseCertificate(der) == nullptr) {
      return invalid("a certificate of the chain does not parse");
    }
    buffers.emplace_back(CRYPTO_BUFFER_new(der.data(), der.size(), nullptr));
    chain.push_back(buffers.back().get());
  }
  const bssl::UniquePtr<X509> leaf = parseCertificate(material.chain.front());
  Result<SpiffeId> id = spiffeIdOfLeaf(leaf.get());
  if (!id.ok()) {
    return id.status();
  }
  const Result<SpiffeId> wanted = parseSpiffeId(material.spiffeId);
  if (!wanted.ok() || !(wanted.value() == id.value())) {
    return invalid("the leaf's SPIFFE ID is not the one asked for");
  }
  const bssl::UniquePtr<EVP_PKEY> key = parseKey(material.keyPkcs8);
  if (key == nullptr) {
    return invalid("the key does not parse");
  }

  static std::atomic<uint64_t> lastEpoch{0};
  std::shared_ptr<Identity> made(new Identity());
  made->roots_ = storeOf(material.roots);
  if (made->roots_ == nullptr) {
    return invalid("no root, too many, or one that does not parse");
  }
  made->client_.reset(SSL_CTX_new(TLS_with_buffers_method()));
  made->server_.reset(SSL_CTX_new(TLS_with_buffers_method()));
  if (!configure(made->client_.get(), chain, key.get()) ||
      !configure(made->server_.get(), chain, key.get())) {
    return invalid("the key does not match the leaf, or the TLS library refuses either");
  }
  made->id_ = std::move(id).value();
  made->resumptionContext_ = contextOf(made->id_, material.roots);
  Handshake::allowResumption(made->client_.get(), made->server_.get());
  SSL_CTX_set_session_id_context(made->server_.get(), made->resumptionContext_.data(),
                                 made->resumptionContext_.size());
  made->notAfterSeconds_ = notAfterOf(leaf.get());
  made->serial_ = serialOf(leaf.get());
  made->epoch_ = lastEpoch.fetch_add(1, std::memory_order_relaxed) + 1;
  return std::shared_ptr<const Identity>(std::move(made));
}

}  // namespace weft::tls
