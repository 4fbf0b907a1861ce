// SPDX-License-Identifier: Apache-2.0
#include "http/authority.h"

#include <cstdlib>

namespace {

void need(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

// What is accepted is an address and a port, and its own spelling means the same again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto endpoint = weft::http::parseAuthority(text);
  if (!endpoint.ok()) {
    need(endpoint.status().code() == weft::Code::kInvalid);
    return 0;
  }
  need(endpoint.value().port != 0);
  need(text.find_first_not_of("0123456789abcdefABCDEF.:[]") == std::string_view::npos);
  need((text.front() == '[') != endpoint.value().ip.isV4());
  const auto again = weft::http::parseAuthority(endpoint.value().toString());
  need(again.ok() && again.value() == endpoint.value());
  return 0;
}
