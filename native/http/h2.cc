// SPDX-License-Identifier: Apache-2.0
#include "http/h2.h"

#include <algorithm>
#include <cstring>

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

}  // namespace weft::http
