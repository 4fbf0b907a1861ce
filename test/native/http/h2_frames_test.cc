// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "http/h2_frames.h"

#include <doctest/doctest.h>
// clang-format on

#include <array>

using namespace weft::http;

TEST_CASE("a frame header is read as it is written, without the reserved bit") {
  std::array<uint8_t, kFrameHeaderBytes> bytes;
  putFrameHeader(bytes.data(), FrameType::kGoaway, 0x5a, kStreamIdMax, 0x123456);
  CHECK(bytes == std::array<uint8_t, 9>{0x12, 0x34, 0x56, 7, 0x5a, 0x7f, 0xff, 0xff, 0xff});
  bytes[5] |= 0x80;
  const FrameHeader frame = parseFrameHeader(bytes.data());
  CHECK(frame.length == 0x123456);
  CHECK(frame.type == 7);
  CHECK(frame.flags == 0x5a);
  CHECK(frame.id == kStreamIdMax);
  CHECK(frame.has(0x10));
  CHECK_FALSE(frame.has(0x04));
}

TEST_CASE("numbers are big-endian") {
  std::array<uint8_t, 4> bytes;
  put32(bytes.data(), 0xfedcba98);
  CHECK(bytes == std::array<uint8_t, 4>{0xfe, 0xdc, 0xba, 0x98});
  CHECK(read32(bytes.data()) == 0xfedcba98);
  put16(bytes.data(), 0x1234);
  CHECK(bytes[0] == 0x12);
  CHECK(bytes[1] == 0x34);
}
