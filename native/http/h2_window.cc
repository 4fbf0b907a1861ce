// SPDX-License-Identifier: Apache-2.0
#include "http/h2_window.h"

#include <algorithm>

namespace weft::http {

bool ReceiveWindow::onPayload(uint32_t n, uint64_t nowMicros) {
  if (sinceMicros_ == 0) {
    sinceMicros_ = nowMicros;
    return false;  // when this began to be sent is not known
  }
  counted_ += n;
  if (counted_ < bytes_) {
    return false;
  }
  tookMicros_ = static_cast<uint32_t>(std::min<uint64_t>(nowMicros - sinceMicros_, UINT32_MAX));
  sinceMicros_ = nowMicros;
  counted_ = 0;
  return true;
}

bool ReceiveWindow::shouldGrow(uint32_t rttMicros) {
  if (rttMicros == 0 || tookMicros_ / 2 > rttMicros) {
    return false;
  }
  // What comes in one burst says nothing of the rate: a window takes a round trip at least.
  const uint64_t took = std::max(tookMicros_, rttMicros);
  const auto rate =
      static_cast<uint32_t>(std::min<uint64_t>(uint64_t{bytes_} * 1000 / took, UINT32_MAX));
  // The round trip is measured in the same queues. When those are what has grown, the rate has not.
  if (rate <= bytesPerMilli_ + bytesPerMilli_ / 8) {
    return false;
  }
  bytesPerMilli_ = rate;
  return true;
}

}  // namespace weft::http
