// SPDX-License-Identifier: Apache-2.0
#include "proxy/events.h"

#include <utility>

#include "base/clock.h"

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

void EventSink::report(EventKind kind, const std::string& podUid, const ConnectionInfo& info,
                       const Outcome& outcome) {
  encodeConnectionEvent(kind, podUid, info, outcome, monotonicMicros(), batch_);
  events_++;
  loop_.atTurnEnd(this);
}

void EventSink::onTurnEnd() {
  if (events_ == 0) {
    return;
  }
  if (!queue_.append(batch_, events_)) {
    counters_.add(Counter::kEventsDropped, events_);
  }
  batch_.clear();
  events_ = 0;
}

}  // namespace weft::proxy
