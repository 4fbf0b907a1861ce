// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "http/h2_window.h"

#include <doctest/doctest.h>
// clang-format on

#include <initializer_list>

using weft::http::ReceiveWindow;

TEST_CASE("a window is counted from the second piece of payload on") {
  ReceiveWindow window(1000);
  CHECK_FALSE(window.onPayload(1000, 50));
  CHECK_FALSE(window.onPayload(999, 60));
  CHECK(window.onPayload(1, 70));
  CHECK_FALSE(window.onPayload(999, 80));
}

TEST_CASE("a window filled within two round trips should grow, a slower one not") {
  for (const bool fast : {true, false}) {
    ReceiveWindow window(1000);
    window.onPayload(1, 100);
    REQUIRE(window.onPayload(1000, fast ? 301 : 302));
    CHECK(window.shouldGrow(100) == fast);
  }
}

TEST_CASE("a window does not grow without a round trip") {
  ReceiveWindow window(1000);
  window.onPayload(1, 100);
  REQUIRE(window.onPayload(1000, 101));
  CHECK_FALSE(window.shouldGrow(0));
}

TEST_CASE("a window grows again when it is filled faster for it, and not when only queues grew") {
  ReceiveWindow window(1000);
  window.onPayload(1, 100);
  window.onPayload(1000, 200);
  REQUIRE(window.shouldGrow(100));
  window.growBy(1000);
  CHECK(window.bytes() == 2000);
  SUBCASE("faster") {
    window.onPayload(2000, 300);
    CHECK(window.shouldGrow(100));
  }
  SUBCASE("the same rate, over a longer round trip") {
    window.onPayload(2000, 400);
    CHECK_FALSE(window.shouldGrow(200));
  }
}

TEST_CASE("a burst counts as a round trip") {
  ReceiveWindow window(1000);
  window.onPayload(1, 100);
  window.onPayload(1000, 100);
  REQUIRE(window.shouldGrow(100));
  window.growBy(1000);
  window.onPayload(2000, 200);
  CHECK(window.shouldGrow(100));
}
