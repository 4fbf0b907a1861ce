// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "http/h2_guard.h"

#include <doctest/doctest.h>
// clang-format on

using weft::http::H2Guard;

TEST_CASE("the budget of a peer holds to the last frame, and is renewed") {
  H2Guard guard({.controlFramesPerTickMax = 3});
  for (int round = 0; round < 2; round++) {
    CHECK(guard.spend());
    CHECK(guard.spend());
    CHECK(guard.spend());
    CHECK_FALSE(guard.spend());
    guard.renew();
  }
}

TEST_CASE("a WINDOW_UPDATE is free as far as our streams and DATA ask for some") {
  H2Guard guard({.controlFramesPerTickMax = 1});
  guard.onStreamOpened();
  guard.onDataSent();
  for (int i = 0; i < 12; i++) {
    CHECK(guard.spendUpdate());
  }
  CHECK(guard.spendUpdate());  // the budget's own
  CHECK_FALSE(guard.spendUpdate());
}

TEST_CASE("requests that came to nothing and resets have budgets of their own") {
  H2Guard guard({.controlFramesPerTickMax = 0, .lostRequestsPerTickMax = 2, .resetsPerTickMax = 1});
  for (int round = 0; round < 2; round++) {
    guard.onRequestLost();
    guard.onRequestLost();
    CHECK(guard.mayAsk());
    guard.onRequestLost();
    CHECK_FALSE(guard.mayAsk());
    CHECK(guard.spendReset());
    CHECK_FALSE(guard.spendReset());
    guard.renew();
    CHECK(guard.mayAsk());
  }
}
