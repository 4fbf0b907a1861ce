// SPDX-License-Identifier: Apache-2.0
#include "tls/spiffe_id.h"

#include <cstdint>
#include <cstdlib>

namespace {

void need(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

// What is accepted is canonical, within its limits, and made of its own parts.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto id = weft::tls::parseSpiffeId({reinterpret_cast<const char*>(data), size});
  if (!id.ok()) {
    need(id.status().code() == weft::Code::kInvalid);
    return 0;
  }
  const weft::tls::SpiffeId& made = id.value();
  need(size <= 2048 && made.text.size() == size);
  need(made.text == "spiffe://" + std::string(made.trustDomain()) + std::string(made.path()));
  need(!made.trustDomain().empty() && made.trustDomain().size() <= 255);
  need(made.trustDomain().find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") ==
       std::string_view::npos);
  need(made.path().empty() || (made.path().front() == '/' && made.path().back() != '/'));
  need(made.path().find("//") == std::string_view::npos);
  need((std::string(made.path()) + "/").find("/../") == std::string::npos);
  need(made.text.find_first_of("%?#@\\ ") == std::string::npos);
  const auto again = weft::tls::parseSpiffeId(made.text);
  need(again.ok() && again.value() == made);
  return 0;
}
