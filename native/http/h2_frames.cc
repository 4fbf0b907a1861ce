// SPDX-License-Identifier: Apache-2.0
#include "http/h2_frames.h"

namespace weft::http {

uint32_t read32(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) << 24 | static_cast<uint32_t>(at[1]) << 16 |
         static_cast<uint32_t>(at[2]) << 8 | at[3];
}

void put16(uint8_t* at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

void put32(uint8_t* at, uint32_t value) {
  put16(at, static_cast<uint16_t>(value >> 16));
  put16(at + 2, static_cast<uint16_t>(value));
}

FrameHeader parseFrameHeader(const uint8_t* at) {
  FrameHeader frame;
  frame.length = static_cast<uint32_t>(at[0]) << 16 | static_cast<uint32_t>(at[1]) << 8 | at[2];
  frame.type = at[3];
  frame.flags = at[4];
  frame.id = static_cast<StreamId>(read32(at + 5) & 0x7fffffff);
  return frame;
}

void putFrameHeader(uint8_t* at, FrameType type, uint8_t flags, StreamId id, size_t length) {
  at[0] = static_cast<uint8_t>(length >> 16);
  put16(at + 1, static_cast<uint16_t>(length));
  at[3] = static_cast<uint8_t>(type);
  at[4] = flags;
  put32(at + 5, static_cast<uint32_t>(id));
}

}  // namespace weft::http
