// SPDX-License-Identifier: Apache-2.0
#include "base/counters.h"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <thread>

using weft::Counter;
using weft::CounterTable;
using weft::kCounterCount;
using weft::kCounterNames;

TEST_CASE("every counter has a name of its own, in snake case") {
  std::set<std::string> names;
  for (const char* name : kCounterNames) {
    REQUIRE(name != nullptr);
    CHECK(std::string(name).find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") ==
          std::string::npos);
    names.insert(name);
  }
  CHECK(names.size() == kCounterCount);
  CHECK(std::string(kCounterNames[static_cast<size_t>(Counter::kOutboundAccepted)]) ==
        "outbound_accepted");
  CHECK(std::string(kCounterNames[static_cast<size_t>(Counter::kStreamsDenied)]) ==
        "streams_denied");
  CHECK(std::string(kCounterNames[static_cast<size_t>(Counter::kEventsDropped)]) ==
        "events_dropped");
}

TEST_CASE("a row counts for itself, and the sum is over all rows") {
  CounterTable table(3);
  CHECK(table.rows() == 3);
  CHECK(table.cells().size() == 3 * kCounterCount);
  CHECK(table.sum(Counter::kStreamsOpened) == 0);
  table.row(0).add(Counter::kStreamsOpened);
  table.row(2).add(Counter::kStreamsOpened, 41);
  CHECK(table.row(0).get(Counter::kStreamsOpened) == 1);
  CHECK(table.row(1).get(Counter::kStreamsOpened) == 0);
  CHECK(table.sum(Counter::kStreamsOpened) == 42);
  CHECK(table.sum(Counter::kStreamsClosed) == 0);
  CHECK(table.cells()[2 * kCounterCount + static_cast<size_t>(Counter::kStreamsOpened)] == 41);
}

TEST_CASE("counters are read while they are written") {
  CounterTable table(1);
  constexpr uint64_t kTurns = 100000;
  std::thread writer([&] {
    weft::CounterRow row = table.row(0);
    for (uint64_t i = 0; i < kTurns; i++) {
      row.add(Counter::kBytesToApps);
    }
  });
  uint64_t last = 0;
  while (last < kTurns) {
    const uint64_t now = table.sum(Counter::kBytesToApps);
    REQUIRE(now >= last);
    last = now;
  }
  writer.join();
  CHECK(table.sum(Counter::kBytesToApps) == kTurns);
}
