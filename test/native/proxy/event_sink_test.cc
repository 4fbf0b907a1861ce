// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/event_sink.h"

#include "proxy/event_reader.h"

#include <doctest/doctest.h>
// clang-format on

#include <algorithm>

namespace weft::proxy {
namespace {

using test::readEvents;

constexpr size_t kQueueBytes = 64 << 10;

ConnectionInfo plain() {
  ConnectionInfo info;
  info.source = {*Ip::parse("10.0.0.1"), 40000};
  info.destination = {*Ip::parse("10.0.0.2"), 80};
  info.bytesSent = 3;
  info.bytesReceived = 5;
  return info;
}

Settings summary() {
  Settings settings;
  settings.reports = Reports::kSummary;
  settings.logName = "ztunnel";
  return settings;
}

TEST_CASE("a worker hands its events over once a turn, and counts those dropped") {
  io::Loop loop;
  int notified = 0;
  EventQueue queue([&] { notified++; }, kQueueBytes);
  CounterTable table(1);
  const Settings settings;
  EventSink sink(loop, queue, table.row(0), settings);
  loop.post([&] {
    for (int i = 0; i < 3; i++) {
      sink.report(EventKind::kOpened, "a", plain(), {});
    }
    CHECK(queue.take().empty());
    loop.post([&] {
      CHECK(readEvents(queue.take()).events.size() == 3);
      CHECK(queue.append(std::string(kQueueBytes, '\0'), 1));
      sink.report(EventKind::kOpened, "a", plain(), {});
      sink.report(EventKind::kOpened, "a", plain(), {});
      loop.stop();
    });
  });
  loop.run();
  CHECK(table.sum(Counter::kEventsDropped) == 2);
  queue.take();
  notified = 0;
  sink.onTurnEnd();  // nothing was reported: nothing is said
  CHECK(notified == 0);
}

TEST_CASE("a summary comes once in a while, and not once a turn") {
  io::Loop loop;
  int notified = 0;
  EventQueue queue([&] { notified++; }, kQueueBytes);
  CounterTable table(1);
  const Settings settings = summary();
  EventSink sink(loop, queue, table.row(0), settings);
  io::Timer later;
  loop.post([&] {
    for (int i = 0; i < 3; i++) {
      sink.report(EventKind::kOpened, "a", plain(), {});
      sink.report(EventKind::kClosed, "a", plain(), {});
    }
    loop.post([&] {
      sink.report(EventKind::kRefused, "a", plain(), {Reason::kDenied, "", ""});
      CHECK(notified == 0);
    });
    later.start(loop, 200, [&] { loop.stop(); });
  });
  loop.run();
  CHECK(notified == 1);
  const auto read = readEvents(queue.take());
  CHECK(read.events.empty());
  REQUIRE(read.totals.size() == 2);
  const bool first = read.totals[0].reason == 0;
  const auto& good = read.totals[first ? 0 : 1];
  const auto& bad = read.totals[first ? 1 : 0];
  CHECK(good.opened == 3);
  CHECK(good.closed == 3);
  CHECK(good.failed == 0);
  CHECK(good.sent == 9);
  CHECK(good.received == 15);
  CHECK(bad.failed == 1);
  CHECK(bad.reason == static_cast<int32_t>(Reason::kDenied));
  CHECK(std::count(read.lines.begin(), read.lines.end(), '\n') == 4);
}

TEST_CASE("without lines of the access log all is counted as with them") {
  io::Loop loop;
  EventQueue queue([] {}, kQueueBytes);
  CounterTable table(1);
  Settings settings = summary();
  settings.logLines = LogLines::kNone;
  EventSink sink(loop, queue, table.row(0), settings);
  sink.report(EventKind::kOpened, "a", plain(), {});
  sink.report(EventKind::kClosed, "a", plain(), {});
  sink.report(EventKind::kRefused, "a", plain(), {Reason::kDenied, "", ""});
  sink.finish();
  const auto read = readEvents(queue.take());
  CHECK(read.lines.empty());
  CHECK(read.totals.size() == 2);
}

TEST_CASE("round-trip times are counted by how long they are, at the edges too") {
  io::Loop loop;
  EventQueue queue([] {}, kQueueBytes);
  CounterTable table(1);
  const Settings settings = summary();
  EventSink sink(loop, queue, table.row(0), settings);
  ConnectionInfo info = plain();
  uint64_t sum = 0;
  for (const uint32_t bound : kRttBoundsMicros) {
    for (const uint32_t rtt : {bound, bound + 1}) {
      sum += info.rttMicros = rtt;
      info.retransmits = 2;
      sink.report(EventKind::kClosed, "a", info, {});
    }
  }
  sink.report(EventKind::kClosed, "a", plain(), {});  // not measured
  sink.finish();
  const auto totals = readEvents(queue.take()).totals.at(0);
  CHECK(totals.closed == 2 * kRttBoundsMicros.size() + 1);
  CHECK(totals.retransmits == 4 * kRttBoundsMicros.size());
  CHECK(totals.rttUs == sum);
  REQUIRE(totals.rttCounts.size() == kRttBoundsMicros.size() + 1);
  CHECK(totals.rttCounts.front() == 1);
  CHECK(totals.rttCounts.back() == 1);
  for (size_t i = 1; i < kRttBoundsMicros.size(); i++) {
    CHECK(totals.rttCounts[i] == 2);
  }
}

TEST_CASE("many kinds of connections, or many lines, do not wait") {
  io::Loop loop;
  EventQueue queue([] {}, 8 << 20);
  CounterTable table(1);
  const Settings settings = summary();
  EventSink sink(loop, queue, table.row(0), settings);
  loop.post([&] {
    for (size_t i = 0; i < kTotalsMax; i++) {
      ConnectionInfo info = plain();
      info.sourceIdentity = std::to_string(i);
      sink.report(EventKind::kOpened, "a", info, {});
    }
    loop.post([&] {
      CHECK(readEvents(queue.take()).totals.size() == kTotalsMax);
      for (int i = 0; i < 3000; i++) {
        sink.report(EventKind::kClosed, "a", plain(), {});
      }
      loop.post([&] {
        const auto read = readEvents(queue.take());
        CHECK(std::count(read.lines.begin(), read.lines.end(), '\n') == 3000);
        loop.stop();
      });
    });
  });
  loop.run();
}

TEST_CASE("what a flood left out is told, at the latest at the end") {
  io::Loop loop;
  EventQueue queue([] {}, kQueueBytes);
  CounterTable table(1);
  const Settings settings = summary();
  EventSink sink(loop, queue, table.row(0), settings);
  for (uint32_t i = 0; i < kFailureLinesMax + 4; i++) {
    sink.report(EventKind::kRefused, "a", plain(), {Reason::kLimit, "", ""});
  }
  sink.finish();
  const auto read = readEvents(queue.take());
  CHECK(std::count(read.lines.begin(), read.lines.end(), '\n') == kFailureLinesMax);
  REQUIRE(read.leftOut.size() == 1);
  CHECK(read.leftOut[0].first == static_cast<int32_t>(Reason::kLimit));
  CHECK(read.leftOut[0].second == 4);
  CHECK(read.totals.at(0).failed == kFailureLinesMax + 4);
  sink.finish();
  CHECK(queue.take().empty());
}

}  // namespace
}  // namespace weft::proxy
