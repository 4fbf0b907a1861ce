// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "test_ca.h"
#include "tls/record.h"

namespace weft::test {

inline constexpr uint16_t kSuite128 = 0x1301;
inline constexpr uint16_t kSuite256 = 0x1302;

/// A traffic secret for tests, of the length that the suite wants.
inline Bytes secretOf(uint16_t suite) {
  return Bytes(suite == kSuite128 ? 32 : 48, 0x5a);
}

inline Bytes fromHex(std::string_view text) {
  const auto digit = [](char c) { return static_cast<uint8_t>(c <= '9' ? c - '0' : c - 'a' + 10); };
  Bytes bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(digit(text[i]) << 4 | digit(text[i + 1])));
  }
  return bytes;
}

/// One record of `content`; the next one of `keys`.
inline Bytes sealed(tls::RecordKeys& keys, tls::ContentType type, const Bytes& content) {
  Bytes record(content.size() + tls::kRecordOverhead);
  std::copy(content.begin(), content.end(), record.begin() + tls::kRecordHeaderBytes);
  need(keys.seal(record, type));
  return record;
}

}  // namespace weft::test
