// SPDX-License-Identifier: Apache-2.0
#include "proxy/events.h"

#include <utility>

namespace weft::proxy {

bool EventQueue::append(const std::string& batch, size_t events) {
  bool wasEmpty = false;
  {
    const std::lock_guard lock(mutex_);
    if (bytes_.size() + batch.size() > bytesMax_) {
      dropped_ += events;
      return false;
    }
    wasEmpty = bytes_.empty();
    bytes_ += batch;
  }
  if (wasEmpty) {
    notify_();
  }
  return true;
}

std::string EventQueue::take() {
  const std::lock_guard lock(mutex_);
  std::string out = std::exchange(bytes_, {});
  if (const uint64_t dropped = std::exchange(dropped_, 0); dropped > 0) {
    encodeDropped(dropped, out);
  }
  return out;
}

}  // namespace weft::proxy
