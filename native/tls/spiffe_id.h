// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace weft::tls {

/// A SPIFFE ID, checked against the SPIFFE-ID standard section 2 (scheme, trust domain alphabet and
/// 255 bytes, path segments, no query or fragment, 2048 bytes in all).
struct SpiffeId {
  std::string text;  ///< Canonical: scheme and trust domain in lower case, path as given.
  size_t trustDomainLength = 0;

  bool operator==(const SpiffeId& other) const { return text == other.text; }
  std::string_view trustDomain() const;
  std::string_view path() const;  ///< With the leading slash; empty for a trust domain ID.
};

/// `text` is untrusted. kInvalid says which rule it breaks.
Result<SpiffeId> parseSpiffeId(std::string_view text);

}  // namespace weft::tls
