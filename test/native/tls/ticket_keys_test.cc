// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/ticket_keys.h"
#include "tls/test_ca.h"

#include <doctest/doctest.h>
// clang-format on
#include <thread>
#include <vector>

using weft::test::Bytes;
using weft::test::kNow;
using weft::tls::TicketKeys;

namespace {

const Bytes kPlain = {1, 2, 3};
const Bytes kAbout = {9};

}  // namespace

TEST_CASE("a ticket opens where it was sealed, about the same, and unchanged") {
  TicketKeys keys;
  const Bytes ticket = keys.seal(kPlain, kAbout, kNow);
  CHECK(ticket.size() == kPlain.size() + TicketKeys::kOverheadBytes);
  CHECK(keys.open(ticket, kAbout, kNow) == kPlain);
  CHECK_FALSE(keys.open(ticket, Bytes{8}, kNow).has_value());
  CHECK_FALSE(TicketKeys().open(ticket, kAbout, kNow).has_value());
  for (size_t i = 0; i < ticket.size(); i++) {
    Bytes changed = ticket;
    changed[i] ^= 1;
    CHECK_FALSE(keys.open(changed, kAbout, kNow).has_value());
    CHECK_FALSE(keys.open(std::span(ticket).first(i), kAbout, kNow).has_value());
  }
}

TEST_CASE("two tickets of the same are not alike") {
  TicketKeys keys;
  CHECK(keys.seal(kPlain, kAbout, kNow) != keys.seal(kPlain, kAbout, kNow));
}

TEST_CASE("keys change each hour and are gone an hour later") {
  TicketKeys keys;
  const Bytes first = keys.seal(kPlain, kAbout, kNow);
  const Bytes late = keys.seal(kPlain, kAbout, kNow + 3599);
  const Bytes second = keys.seal(kPlain, kAbout, kNow + 3600);
  const auto name = [](const Bytes& ticket) { return Bytes(ticket.begin(), ticket.begin() + 16); };
  CHECK(name(first) == name(late));
  CHECK(name(first) != name(second));
  CHECK(keys.open(late, kAbout, kNow + 7199).has_value());
  CHECK_FALSE(keys.open(late, kAbout, kNow + 7200).has_value());
  CHECK(keys.open(second, kAbout, kNow + 7200).has_value());
  // Long unused: neither lives on.
  CHECK_FALSE(keys.open(second, kAbout, kNow + 100'000).has_value());
}

TEST_CASE("a clock that is set back makes new keys") {
  TicketKeys keys;
  const Bytes ticket = keys.seal(kPlain, kAbout, kNow);
  CHECK_FALSE(keys.open(ticket, kAbout, kNow - 1).has_value());
}

TEST_CASE("many threads seal and open while keys change") {
  TicketKeys keys;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&keys] {
      for (int i = 0; i < 200; i++) {
        const Bytes ticket = keys.seal(kPlain, kAbout, kNow + i * 60);
        keys.open(ticket, kAbout, kNow + i * 60);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}
