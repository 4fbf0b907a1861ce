// SPDX-License-Identifier: Apache-2.0
#include "tls/verify.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>

#include "tls/svid.h"

namespace weft::tls {
namespace {

Refusal refuse(uint8_t alert, std::string why) {
  ERR_clear_error();
  return {Status(Code::kDenied, "peer: " + std::move(why)), alert};
}

struct Path {
  std::optional<Refusal> refusal;
  int64_t notAfterSeconds = 0;
};

bool prepare(X509_STORE_CTX* context, Role role, int64_t nowSeconds) {
  X509_VERIFY_PARAM* params = X509_STORE_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_time_posix(params, nowSeconds);
  X509_VERIFY_PARAM_set_depth(params, static_cast<int>(kChainCertificatesMax));
  const bool weAreServer = role == Role::kServer;
  return X509_VERIFY_PARAM_set_flags(params, X509_V_FLAG_TRUSTED_FIRST) == 1 &&
         X509_VERIFY_PARAM_set_purpose(
             params, weAreServer ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER) == 1 &&
         X509_VERIFY_PARAM_set_trust(
             params, weAreServer ? X509_TRUST_SSL_CLIENT : X509_TRUST_SSL_SERVER) == 1;
}

// RFC 5280 section 6, against the identity's own bundle.
Path verifyPath(X509* leaf, STACK_OF(X509) * intermediates, const Identity& own, Role role,
                int64_t nowSeconds) {
  const bssl::UniquePtr<X509_STORE_CTX> context(X509_STORE_CTX_new());
  if (context == nullptr ||
      X509_STORE_CTX_init(context.get(), own.roots(), leaf, intermediates) != 1 ||
      !prepare(context.get(), role, nowSeconds)) {
    return {refuse(SSL_AD_INTERNAL_ERROR, "the path could not be checked"), 0};
  }
  if (X509_verify_cert(context.get()) != 1) {
    const int error = X509_STORE_CTX_get_error(context.get());
    return {refuse(static_cast<uint8_t>(SSL_alert_from_verify_result(error)),
                   X509_verify_cert_error_string(error)),
            0};
  }
  const STACK_OF(X509)* path = X509_STORE_CTX_get0_chain(context.get());
  int64_t earliest = notAfterOf(leaf);
  for (size_t i = 0; i < sk_X509_num(path); i++) {
    earliest = std::min(earliest, notAfterOf(sk_X509_value(path, i)));
  }
  return {std::nullopt, earliest};
}

bssl::UniquePtr<STACK_OF(X509)> parseIntermediates(
    std::span<const std::span<const uint8_t>> chain) {
  bssl::UniquePtr<STACK_OF(X509)> parsed(sk_X509_new_null());
  for (const std::span<const uint8_t> der : chain) {
    bssl::UniquePtr<X509> one = parseCertificate(der);
    if (one == nullptr || !bssl::PushToStack(parsed.get(), std::move(one))) {
      return nullptr;
    }
  }
  return parsed;
}

}  // namespace

const PeerIdentity* VerifiedLeaves::find(const std::array<uint8_t, 32>& leaf, const Identity& own,
                                         Role role, int64_t nowSeconds) const {
  const auto found = entries_.find(Key{leaf, own.epoch(), role});
  if (found == entries_.end() || nowSeconds > found->second.notAfterSeconds) {
    return nullptr;
  }
  return &found->second;
}

void VerifiedLeaves::remember(const PeerIdentity& peer, const Identity& own, Role role) {
  if (entriesMax_ == 0) {
    return;
  }
  const Key key{peer.leafSha256, own.epoch(), role};
  if (!entries_.insert_or_assign(key, peer).second) {
    return;
  }
  if (order_.size() < entriesMax_) {
    order_.push_back(key);
    return;
  }
  entries_.erase(order_[next_]);
  order_[next_] = key;
  next_ = (next_ + 1) % entriesMax_;
}

std::optional<Refusal> verifyPeer(std::span<const std::span<const uint8_t>> chain,
                                  const Identity& own, Role role, int64_t nowSeconds,
                                  VerifiedLeaves& cache, PeerIdentity& peer) {
  if (chain.empty() || chain.size() > kChainCertificatesMax) {
    return refuse(SSL_AD_BAD_CERTIFICATE, "no chain, or too long a one");
  }
  std::array<uint8_t, 32> leafSha256{};
  SHA256(chain[0].data(), chain[0].size(), leafSha256.data());
  if (const PeerIdentity* known = cache.find(leafSha256, own, role, nowSeconds)) {
    peer = *known;
    return std::nullopt;
  }
  const bssl::UniquePtr<X509> leaf = parseCertificate(chain[0]);
  const bssl::UniquePtr<STACK_OF(X509)> intermediates = parseIntermediates(chain.subspan(1));
  if (leaf == nullptr || intermediates == nullptr) {
    return refuse(SSL_AD_BAD_CERTIFICATE, "a certificate does not parse");
  }
  Result<SpiffeId> id = spiffeIdOfLeaf(leaf.get());
  if (!id.ok()) {
    return refuse(SSL_AD_BAD_CERTIFICATE, id.status().message());
  }
  if (id.value().trustDomain() != own.id().trustDomain()) {
    // The trust domain chooses the bundle, and for a foreign one there is none here.
    return refuse(SSL_AD_UNKNOWN_CA, "foreign trust domain: " + id.value().text);
  }
  Path path = verifyPath(leaf.get(), intermediates.get(), own, role, nowSeconds);
  if (path.refusal) {
    return std::move(path.refusal);
  }
  peer = {std::move(id).value(), path.notAfterSeconds, leafSha256, serialOf(leaf.get())};
  cache.remember(peer, own, role);
  return std::nullopt;
}

}  // namespace weft::tls
