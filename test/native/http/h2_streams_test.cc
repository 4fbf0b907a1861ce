// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "http/h2_streams.h"

#include <doctest/doctest.h>
// clang-format on

#include <random>
#include <set>

using weft::http::StreamId;
using weft::http::StreamTable;

TEST_CASE("streams are found by id until they are erased") {
  StreamTable table;
  CHECK(table.find(1) == nullptr);
  table.insert(1).sendWindow = 7;
  REQUIRE(table.find(1) != nullptr);
  CHECK(table.find(1)->sendWindow == 7);
  CHECK(table.find(3) == nullptr);
  table.erase(1);
  CHECK(table.find(1) == nullptr);
  CHECK(table.size() == 0);
}

TEST_CASE("the table of streams is a set of ids, whatever is done to it") {
  std::mt19937 random(7);
  for (const StreamId most : {9, 64, 4001, 0x7fffffff}) {
    StreamTable table;
    std::set<StreamId> expected;
    std::uniform_int_distribution<StreamId> any(1, most);
    for (int i = 0; i < 4000; i++) {
      const StreamId id = any(random);
      if (expected.erase(id) == 1) {
        table.erase(id);
      } else if (expected.size() < 500) {
        expected.insert(id);
        table.insert(id).receiveWindow = id;
      }
      if (i % 97 == 0) {
        CHECK(table.ids() == std::vector<StreamId>(expected.begin(), expected.end()));
      }
    }
    CHECK(table.size() == expected.size());
    for (const StreamId id : expected) {
      REQUIRE(table.find(id) != nullptr);
      CHECK(table.find(id)->receiveWindow == id);
    }
    for (const StreamId id : std::set<StreamId>(expected)) {
      table.erase(id);
      CHECK(table.find(id) == nullptr);
    }
    CHECK(table.size() == 0);
  }
}
