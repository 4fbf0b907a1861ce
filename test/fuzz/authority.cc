// SPDX-License-Identifier: Apache-2.0
#include "http/authority.h"

#include <cstdlib>
#include <string>

namespace {

void need(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

// What is accepted is an address or a name, and a port; its own spelling means the same again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = weft::http::parseAuthority(text);
  if (!parsed.ok()) {
    need(parsed.status().code() == weft::Code::kInvalid);
    return 0;
  }
  const weft::http::Authority& authority = parsed.value();
  need(authority.port != 0);
  need(authority.ip.has_value() == authority.host.empty());
  std::string spelled = authority.host + ":" + std::to_string(authority.port);
  if (authority.ip.has_value()) {
    need(text.find_first_not_of("0123456789abcdefABCDEF.:[]") == std::string_view::npos);
    need((text.front() == '[') != authority.ip->isV4());
    spelled = weft::Endpoint{*authority.ip, authority.port}.toString();
  } else {
    need(authority.host.size() <= weft::http::kHostBytesMax);
    need(authority.host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") ==
         std::string::npos);
    need(!weft::Ip::parse(authority.host).has_value());
    need(spelled.size() == text.size());
  }
  const auto again = weft::http::parseAuthority(spelled);
  need(again.ok() && again.value().ip == authority.ip && again.value().host == authority.host &&
       again.value().port == authority.port);
  return 0;
}
