// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/base.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"
#include "tls/spiffe_id.h"

namespace weft::tls {

/// Most certificates in one chain, ours or a peer's, leaf and intermediates together.
inline constexpr size_t kChainCertificatesMax = 8;

/// One DER certificate with nothing behind it; null when it is anything else. Untrusted input.
bssl::UniquePtr<X509> parseCertificate(std::span<const uint8_t> der);

/// The SPIFFE ID of an X.509-SVID leaf (X509-SVID sections 2, 4 and 5.2): version 3, exactly one
/// URI SAN, which is a SPIFFE ID with a path; cA=false; a critical key usage with digitalSignature
/// and without keyCertSign and cRLSign. Says nothing of signatures or validity. kInvalid names the
/// rule.
Result<SpiffeId> spiffeIdOfLeaf(X509* leaf);

/// A certificate's serial number in the form of canonicalSerial().
std::string serialOf(const X509* certificate);

/// A certificate's notAfter as Unix time. Fails closed: 0 when it cannot be read.
int64_t notAfterOf(const X509* certificate);

}  // namespace weft::tls
