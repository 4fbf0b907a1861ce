// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include "proxy/spread.h"

#include "proxy/settings.h"

#include <doctest/doctest.h>
// clang-format on

#include <vector>

using weft::proxy::kHandedOverMax;
using weft::proxy::Spread;

TEST_CASE("the listening worker takes the first, and then who carries the fewest") {
  Spread spread(1, 3);
  std::vector<size_t> chosen;
  for (int i = 0; i < 6; i++) {
    const size_t worker = spread.choose();
    spread.opened(worker);
    spread.arrived(worker);
    chosen.push_back(worker);
  }
  CHECK(chosen == std::vector<size_t>{1, 2, 0, 1, 2, 0});
  spread.closed(2);
  CHECK(spread.choose() == 2);
}

TEST_CASE("what is under way counts as if it were there") {
  Spread spread(0, 2);
  CHECK(spread.choose() == 0);
  CHECK(spread.choose() == 1);
  CHECK(spread.choose() == 0);
  CHECK(spread.choose() == 1);
  spread.arrived(1);  // and ended at once
  CHECK(spread.choose() == 1);
}

TEST_CASE("a worker to which too many are under way gets no more, until one arrived") {
  Spread spread(0, 2);
  for (size_t i = 0; i <= 2 * kHandedOverMax; i++) {
    spread.opened(0);  // busier than the other will ever be
  }
  for (size_t i = 0; i < kHandedOverMax; i++) {
    CHECK(spread.choose() == 1);
  }
  CHECK(spread.choose() == 0);
  spread.arrived(0);
  spread.arrived(1);
  CHECK(spread.choose() == 1);
}

TEST_CASE("one worker takes all") {
  Spread spread(0, 1);
  for (size_t i = 0; i <= kHandedOverMax; i++) {
    CHECK(spread.choose() == 0);
  }
}
