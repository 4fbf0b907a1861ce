// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "base/published.h"

#include <doctest/doctest.h>
// clang-format on
#include <thread>
#include <vector>

using weft::Published;

TEST_CASE("a value is replaced only by who saw the last one") {
  Published<int> value;
  CHECK(value.get() == nullptr);
  const auto one = std::make_shared<const int>(1);
  CHECK(value.replace(nullptr, one));
  CHECK_FALSE(value.replace(nullptr, std::make_shared<const int>(2)));
  CHECK(value.get() == one);
}

TEST_CASE("of many threads that replace a value, none is lost") {
  Published<int> value;
  REQUIRE(value.replace(nullptr, std::make_shared<const int>(0)));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&value] {
      for (int i = 0; i < 500; i++) {
        for (auto seen = value.get();
             !value.replace(seen, std::make_shared<const int>(*seen + 1));) {
          seen = value.get();
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(*value.get() == 2000);
}
