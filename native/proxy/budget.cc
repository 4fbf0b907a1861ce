// SPDX-License-Identifier: Apache-2.0
#include "proxy/budget.h"

namespace weft::proxy {

bool SharedSum::tryAdd(uint64_t n) {
  uint64_t seen = value();
  do {
    if (n > max_ || seen > max_ - n) {
      return false;
    }
  } while (!value_.compare_exchange_weak(seen, seen + n, std::memory_order_relaxed));
  return true;
}

bool PodBudget::take(uint32_t bytes) {
  if (!bytes_.tryAdd(bytes)) {
    return false;
  }
  if (!nodeBytes_->tryAdd(bytes)) {
    bytes_.subtract(bytes);
    return false;
  }
  return true;
}

void PodBudget::give(uint32_t bytes) {
  bytes_.subtract(bytes);
  nodeBytes_->subtract(bytes);
}

void PodBudget::account(uint64_t before, uint64_t now) {
  // Unsigned arithmetic wraps, so that a smaller `now` takes away.
  bytes_.add(now - before);
  nodeBytes_->add(now - before);
}

bool SourceBudget::take(uint32_t bytes) {
  if (bytes > bytesMax_ - taken_ || !pod_->take(bytes)) {
    return false;
  }
  taken_ += bytes;
  return true;
}

void SourceBudget::give(uint32_t bytes) {
  taken_ -= bytes;
  pod_->give(bytes);
}

}  // namespace weft::proxy
