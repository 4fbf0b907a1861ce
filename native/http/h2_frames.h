// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "http/h2.h"

namespace weft::http {

/// RFC 9113 section 6.
enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

inline constexpr uint8_t kFlagEndStream = 0x1;
inline constexpr uint8_t kFlagAck = 0x1;
inline constexpr uint8_t kFlagEndHeaders = 0x4;
inline constexpr uint8_t kFlagPadded = 0x8;
inline constexpr uint8_t kFlagPriority = 0x20;

/// RFC 9113 section 6.5.2.
enum class Setting : uint16_t {
  kHeaderTableSize = 1,
  kEnablePush = 2,
  kMaxConcurrentStreams = 3,
  kInitialWindowSize = 4,
  kMaxFrameSize = 5,
  kMaxHeaderListSize = 6,
};

inline constexpr size_t kFrameHeaderBytes = 9;
/// One DATA frame's payload: with its header it fills one TLS record exactly.
inline constexpr size_t kPayloadBytesMax = (16 << 10) - kFrameHeaderBytes;
/// The greatest frame a peer may send before it is allowed more (RFC 9113 section 4.2).
inline constexpr uint32_t kFrameBytesDefault = 16 << 10;
inline constexpr uint32_t kFrameBytesLimit = (1 << 24) - 1;
inline constexpr uint32_t kWindowDefault = 65'535;
inline constexpr uint32_t kWindowLimit = 0x7fffffff;
inline constexpr StreamId kStreamIdMax = 0x7fffffff;
/// The client's first bytes (RFC 9113 section 3.4).
inline constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
inline constexpr size_t kPrefaceBytes = sizeof kPreface - 1;

struct FrameHeader {
  uint32_t length = 0;
  uint8_t type = 0;  ///< A FrameType, or one we do not know.
  uint8_t flags = 0;
  StreamId id = 0;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
};

/// Big-endian numbers of the wire.
uint32_t read32(const uint8_t* at);
void put16(uint8_t* at, uint16_t value);
void put32(uint8_t* at, uint32_t value);

/// Reads and writes the kFrameHeaderBytes at `at`. The reserved bit is ignored, and sent as 0.
FrameHeader parseFrameHeader(const uint8_t* at);
void putFrameHeader(uint8_t* at, FrameType type, uint8_t flags, StreamId id, size_t length);

}  // namespace weft::http
