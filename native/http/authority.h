// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/ip.h"
#include "base/status.h"

namespace weft::http {

/// Parses the :authority of an HBONE CONNECT: "10.0.0.2:8080" or "[fd00::2]:8080". Untrusted.
/// Refuses a missing, zero, signed, padded or over-long port, user information, zones, unbracketed
/// IPv6, mapped IPv4 in brackets and anything after the port. Host names are kInvalid as long as no
/// flow needs them.
Result<Endpoint> parseAuthority(std::string_view text);

}  // namespace weft::http
