// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "http/h2.h"

namespace weft::http {

/// The budgets of one peer for what costs it little and us more: frames that must be answered or
/// remembered, or say nothing; requests that come to nothing; resets. The bounds are H2Limits's.
class H2Guard {
 public:
  explicit H2Guard(const H2Limits& limits)
      : framesMax_(limits.controlFramesPerTickMax),
        requestsMax_(limits.lostRequestsPerTickMax),
        resetsMax_(limits.resetsPerTickMax) {}

  /// A control frame. False when the budget is out: the connection then ends with
  /// ENHANCE_YOUR_CALM.
  bool spend() { return ++frames_ <= framesMax_; }
  /// A request came to nothing. The owner's refusals come at any time, so they are only counted
  /// here, and judged when the peer asks next.
  void onRequestLost() { requests_++; }
  /// False when more requests came to nothing than may.
  bool mayAsk() const { return requests_ <= requestsMax_; }
  /// RST_STREAM for a stream that was answered or that we reset; false as with spend().
  bool spendReset() { return ++resets_ <= resetsMax_; }
  /// The same for a WINDOW_UPDATE, of which an honest peer sends some for what it is sent.
  bool spendUpdate() {
    if (updates_ == 0) {
      return spend();
    }
    updates_--;
    return true;
  }
  void onDataSent() { updates_ = std::min(updates_ + kUpdatesPerData, kUpdatesMax); }
  void onStreamOpened() { updates_ = std::min(updates_ + kUpdatesPerStream, kUpdatesMax); }
  void renew() { frames_ = requests_ = resets_ = 0; }

 private:
  static constexpr uint32_t kUpdatesPerData = 10;
  static constexpr uint32_t kUpdatesPerStream = 2;
  static constexpr uint32_t kUpdatesMax = 100'000;

  uint32_t framesMax_;
  uint32_t requestsMax_;
  uint32_t resetsMax_;
  uint32_t frames_ = 0;
  uint32_t requests_ = 0;
  uint32_t resets_ = 0;
  uint32_t updates_ = 0;
};

}  // namespace weft::http
