// SPDX-License-Identifier: Apache-2.0
#include "proxy/spread.h"

#include "proxy/settings.h"

namespace weft::proxy {

size_t Spread::choose() {
  size_t best = listener_;
  uint64_t fewest = UINT64_MAX;
  for (size_t i = 0; i < loads_.size(); i++) {
    // From the listening one on, so that it wins when all are equal.
    const size_t worker = (listener_ + i) % loads_.size();
    const uint64_t underWay = loads_[worker].underWay.load(std::memory_order_relaxed);
    if (worker != listener_ && underWay >= kHandedOverMax) {
      continue;
    }
    const uint64_t load = loads_[worker].open.load(std::memory_order_relaxed) + underWay;
    if (load < fewest) {
      best = worker;
      fewest = load;
    }
  }
  loads_[best].underWay.fetch_add(1, std::memory_order_relaxed);
  return best;
}

}  // namespace weft::proxy
