// SPDX-License-Identifier: Apache-2.0
#include "http/h2.h"

#include <algorithm>
#include <cstring>

#include "http/h2_nghttp2.h"
#include "http/h2_own.h"

namespace weft::http {

void ByteWriter::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const std::span<uint8_t> room = reserve(1);
    const size_t n = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), n);
    commit(n);
    bytes = bytes.subspan(n);
  }
}

std::unique_ptr<H2> newH2Client(H2Row row, const H2Limits& limits, const H2Wiring& wiring) {
  if (row == H2Row::kOwn) {
    return std::make_unique<OwnH2>(false, limits, wiring);
  }
  return std::make_unique<NgHttp2>(false, limits, wiring);
}

std::unique_ptr<H2> newH2Server(H2Row row, const H2Limits& limits, const H2Wiring& wiring) {
  if (row == H2Row::kOwn) {
    return std::make_unique<OwnH2>(true, limits, wiring);
  }
  return std::make_unique<NgHttp2>(true, limits, wiring);
}

}  // namespace weft::http
