// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace weft::http {

/// The budget of one peer for frames that cost it little and us more: those that must be answered
/// or remembered, and those that say nothing. What it makes us refuse counts as well.
class H2Guard {
 public:
  explicit H2Guard(uint32_t perTickMax) : perTickMax_(perTickMax) {}

  /// False when the budget is out: the connection then ends with ENHANCE_YOUR_CALM.
  bool spend() { return ++spent_ <= perTickMax_; }
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
  void renew() { spent_ = 0; }

 private:
  static constexpr uint32_t kUpdatesPerData = 10;
  static constexpr uint32_t kUpdatesPerStream = 2;
  static constexpr uint32_t kUpdatesMax = 100'000;

  uint32_t perTickMax_;
  uint32_t spent_ = 0;
  uint32_t updates_ = 0;
};

}  // namespace weft::http
