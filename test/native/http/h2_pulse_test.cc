// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "http/h2_pulse.h"

#include <doctest/doctest.h>
// clang-format on

using weft::http::H2Pulse;

namespace {
constexpr uint64_t kMilli = 1000;
}

TEST_CASE("silence is asked into once, and again after the answer") {
  H2Pulse pulse(10, 20);
  CHECK_FALSE(pulse.due(100 * kMilli));
  CHECK_FALSE(pulse.due(110 * kMilli - 1));
  CHECK(pulse.due(110 * kMilli));
  const uint64_t question = pulse.ask(110 * kMilli);
  CHECK(pulse.asking());
  CHECK_FALSE(pulse.due(115 * kMilli));
  pulse.onBytes(116 * kMilli);
  CHECK(pulse.onAnswer(question, 116 * kMilli));
  CHECK(pulse.rttMicros() == 6 * kMilli);
  CHECK_FALSE(pulse.due(126 * kMilli - 1));
  CHECK(pulse.due(126 * kMilli));
  CHECK(pulse.ask(126 * kMilli) != question);
}

TEST_CASE("an answer to no question, or to an old one, is none") {
  H2Pulse pulse(10, 20);
  CHECK_FALSE(pulse.onAnswer(0, 1));
  const uint64_t first = pulse.ask(1);
  CHECK_FALSE(pulse.onAnswer(first + 1, 2));
  CHECK(pulse.onAnswer(first, 2));
  CHECK_FALSE(pulse.onAnswer(first, 3));
  pulse.ask(4);
  CHECK_FALSE(pulse.onAnswer(first, 5));
}

TEST_CASE("a peer is dead when it was asked, had its time, and nothing at all came") {
  H2Pulse pulse(10, 20);
  pulse.onBytes(100 * kMilli);
  CHECK_FALSE(pulse.dead(1000 * kMilli));
  pulse.ask(110 * kMilli);
  CHECK_FALSE(pulse.dead(120 * kMilli - 1));
  CHECK(pulse.dead(120 * kMilli));
  pulse.onBytes(119 * kMilli);
  CHECK_FALSE(pulse.dead(120 * kMilli));
  CHECK(pulse.dead(139 * kMilli));
}

TEST_CASE("a round trip is stale before the first, and some time after the last") {
  H2Pulse pulse(10, 20);
  CHECK(pulse.stale(1));
  const uint64_t question = pulse.ask(1);
  CHECK_FALSE(pulse.stale(1'000'000));
  pulse.onAnswer(question, 50);
  CHECK_FALSE(pulse.stale(51));
  CHECK(pulse.stale(50 + 100 * kMilli));
}
