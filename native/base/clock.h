// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace weft {

/// CLOCK_MONOTONIC. For time-outs and durations.
uint64_t monotonicMicros();
uint64_t monotonicNanos();
inline uint64_t monotonicMillis() {
  return monotonicMicros() / 1000;
}

/// What this thread had of its processor, in nanoseconds. For measurements.
uint64_t threadNanos();

/// CLOCK_REALTIME in seconds. For certificate validity only.
int64_t unixSeconds();
/// The same in milliseconds. For what people read.
int64_t unixMillis();

}  // namespace weft
