// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/status.h"

namespace weft::http {

inline constexpr size_t kHostBytesMax = 253;  ///< Of a name (RFC 1035 section 2.3.4).
inline constexpr size_t kLabelBytesMax = 63;

/// What an HBONE CONNECT asks for: an address, or a host by its name.
struct Authority {
  std::optional<Ip> ip;  ///< Of an address only.
  std::string host;      ///< The name in lower case; empty for an address.
  uint16_t port = 0;
};

/// Parses the :authority of an HBONE CONNECT: "10.0.0.2:8080", "[fd00::2]:8080" or
/// "web.shop.svc.cluster.local:80". Untrusted. Refuses a missing, zero, signed, padded or over-long
/// port, user information, zones, unbracketed IPv6, mapped IPv4 in brackets and anything after the
/// port. A name has labels of letters, digits, "-" and "_" that neither begin nor end with "-";
/// one whose last label is a number is a misspelled address, and refused.
Result<Authority> parseAuthority(std::string_view text);

}  // namespace weft::http
