// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace weft::test {

/// What a TCP socket has moved so far, in segments.
struct Segments {
  uint32_t sent = 0;          ///< With data or without.
  uint32_t received = 0;      ///< With data or without.
  uint32_t dataReceived = 0;  ///< With data.
};

/// Aborts when the kernel does not say.
Segments segmentsOf(int fd);

}  // namespace weft::test
