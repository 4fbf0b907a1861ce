// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace weft::http {

/// The size of one stream's receive window, and the measurement by which it grows. A sender that
/// is held back by the window fills it once in a round trip, and is faster with a larger one; one
/// that is held back by anything else is not.
class ReceiveWindow {
 public:
  explicit ReceiveWindow(uint32_t bytes = 0) : bytes_(bytes) {}

  uint32_t bytes() const { return bytes_; }
  void growBy(uint32_t more) { bytes_ += more; }

  /// Counts payload that arrived. True when a whole window's worth came since the last time: then
  /// ask shouldGrow(), once, with a fresh round trip.
  bool onPayload(uint32_t n, uint64_t nowMicros);
  /// True when the window just counted came within about two round trips, and faster than the one
  /// that made it grow before. Never with a round trip that is not known (0).
  bool shouldGrow(uint32_t rttMicros);

 private:
  uint32_t bytes_;
  uint32_t counted_ = 0;
  uint64_t sinceMicros_ = 0;
  uint32_t tookMicros_ = 0;     // the last window's worth
  uint32_t bytesPerMilli_ = 0;  // when it grew last
};

}  // namespace weft::http
