// SPDX-License-Identifier: Apache-2.0
#include "proxy/event_sink.h"

#include <unistd.h>

#include <algorithm>

#include "base/clock.h"

namespace weft::proxy {
namespace {

/// How long a summary gathers. Its reader wakes up for it, whatever it holds.
constexpr uint64_t kSummaryMs = 100;
/// Lines that are handed over before their time.
constexpr size_t kLinesBytes = 256 << 10;

}  // namespace

EventSink::EventSink(io::Loop& loop, EventQueue& queue, CounterRow counters,
                     const Settings& settings)
    : loop_(loop),
      queue_(queue),
      counters_(counters),
      each_(settings.reports == Reports::kEach),
      log_(settings.logName, ::getpid(), settings.logOpened, settings.logLines) {}

void EventSink::report(EventKind kind, const std::string& podUid, const ConnectionInfo& info,
                       const Outcome& outcome) {
  events_++;
  if (each_) {
    encodeConnectionEvent(kind, podUid, info, outcome, monotonicMicros(), batch_);
    loop_.atTurnEnd(this);
  } else {
    sumUp(kind, info, outcome);
  }
}

void EventSink::sumUp(EventKind kind, const ConnectionInfo& info, const Outcome& outcome) {
  totals_.count(kind, info, outcome);
  if (log_.wants(kind, outcome)) {
    log_.append(kind, info, outcome, monotonicMicros(), unixMillis());
  }
  if (totals_.full() || log_.size() >= kLinesBytes) {
    loop_.atTurnEnd(this);
  } else if (!timer_.running()) {
    timer_.start(loop_, kSummaryMs, [this] { flush(); });
  }
}

void EventSink::onTurnEnd() {
  flush();
}

void EventSink::flush() {
  if (!each_) {
    encodeSummary(monotonicMicros());
    if (log_.leavesOut()) {
      timer_.start(loop_, kFailureWindowMs, [this] { flush(); });
    }
  }
  handOver();
}

void EventSink::finish() {
  if (!each_) {
    encodeSummary(UINT64_MAX);
  }
  handOver();
}

void EventSink::handOver() {
  if (batch_.empty()) {
    return;
  }
  if (!queue_.append(batch_, events_)) {
    counters_.add(Counter::kEventsDropped, events_);
  }
  batch_.clear();
  events_ = 0;
}

void EventSink::encodeSummary(uint64_t nowMicros) {
  timer_.cancel();
  totals_.take(
      [this](const TotalsKey& key, const TotalsSums& sums) { encodeTotals(key, sums, batch_); });
  if (log_.size() > 0) {
    encodeLines(log_.takeLines(), batch_);
  }
  const LeftOut leftOut = log_.takeLeftOut(nowMicros);
  if (std::any_of(leftOut.begin(), leftOut.end(), [](uint32_t lines) { return lines > 0; })) {
    encodeLeftOut(leftOut, batch_);
  }
}

}  // namespace weft::proxy
