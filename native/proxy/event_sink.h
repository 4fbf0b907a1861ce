// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/counters.h"
#include "io/loop.h"
#include "proxy/access_log.h"
#include "proxy/events.h"
#include "proxy/settings.h"
#include "proxy/totals.h"

namespace weft::proxy {

/// One worker's end of the event queue. It tells of each connection, at the end of the turn; or it
/// sums up: lines of the access log ready to be written, and totals, a few times a second.
class EventSink final : public io::Task {
 public:
  EventSink(io::Loop& loop, EventQueue& queue, CounterRow counters, const Settings& settings);
  void report(EventKind kind, const std::string& podUid, const ConnectionInfo& info,
              const Outcome& outcome);
  void onTurnEnd() override;
  /// Hands over what waits.
  void flush();
  /// The same for the last time, with what still waits for its time.
  void finish();

 private:
  void sumUp(EventKind kind, const ConnectionInfo& info, const Outcome& outcome);
  void encodeSummary(uint64_t nowMicros);
  void handOver();

  io::Loop& loop_;
  EventQueue& queue_;
  CounterRow counters_;
  const bool each_;
  AccessLog log_;
  Totals totals_;
  io::Timer timer_;
  std::string batch_;
  size_t events_ = 0;
};

/// The encoding of a summary (native/proto/events.proto).
void encodeTotals(const TotalsKey& key, const TotalsSums& sums, std::string& batch);
void encodeLines(const std::string& lines, std::string& batch);
void encodeLeftOut(const LeftOut& leftOut, std::string& batch);

}  // namespace weft::proxy
