// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/base.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "tls/spiffe_id.h"

namespace weft::tls {

/// What the control plane gives us for one workload identity. DER throughout.
struct IdentityMaterial {
  std::string spiffeId;
  std::vector<std::vector<uint8_t>> chain;  ///< Leaf first, then intermediates; no root.
  std::vector<uint8_t> keyPkcs8;            ///< Wiped by Identity::create, on failure too.
  std::vector<std::vector<uint8_t>> roots;  ///< The bundle of the identity's own trust domain.
};

/// One X.509-SVID with its private key and trust bundle, ready for use in both TLS roles.
/// Immutable; shared by all workers (the TLS library counts its references atomically).
class Identity {
 public:
  /// kInvalid when the chain does not parse, the key does not match the leaf, the leaf's SPIFFE ID
  /// is not `spiffeId`, or there is no root.
  static Result<std::shared_ptr<const Identity>> create(IdentityMaterial material);
  ~Identity();

  const SpiffeId& id() const { return id_; }
  /// Process-wide, unique and rising with each create(): an older one is superseded.
  uint64_t epoch() const { return epoch_; }
  int64_t notAfterSeconds() const { return notAfterSeconds_; }  ///< Of the leaf; Unix time.
  const std::string& serial() const { return serial_; }  ///< Of the leaf, as canonicalSerial().

  /// Names this identity and its bundle, by content: a ticket for another workload, or from before
  /// the roots changed, is bound to another one.
  const std::array<uint8_t, 32>& resumptionContext() const { return resumptionContext_; }

  SSL_CTX* clientContext() const { return client_.get(); }
  SSL_CTX* serverContext() const { return server_.get(); }
  X509_STORE* roots() const { return roots_.get(); }

 private:
  Identity();
  SpiffeId id_;
  uint64_t epoch_ = 0;
  int64_t notAfterSeconds_ = 0;
  std::string serial_;
  std::array<uint8_t, 32> resumptionContext_{};
  bssl::UniquePtr<SSL_CTX> client_;
  bssl::UniquePtr<SSL_CTX> server_;
  bssl::UniquePtr<X509_STORE> roots_;
};

}  // namespace weft::tls
