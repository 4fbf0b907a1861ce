// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/totals.h"

#include <doctest/doctest.h>
// clang-format on

#include <vector>

namespace weft::proxy {
namespace {

ConnectionInfo info(const char* from, const char* service) {
  ConnectionInfo out;
  out.sourceIdentity = from;
  out.destinationService = service;
  out.bytesSent = 1;
  out.bytesReceived = 10;
  return out;
}

TEST_CASE("connections are summed up by all that tells them apart") {
  Totals totals;
  CHECK(totals.empty());
  totals.count(EventKind::kOpened, info("a", "s"), {});
  totals.count(EventKind::kClosed, info("a", "s"), {});
  totals.count(EventKind::kClosed, info("a", "s"), {});
  totals.count(EventKind::kRefused, info("a", "s"), {Reason::kDenied, "why", "p"});
  totals.count(EventKind::kClosed, info("b", "s"), {});
  totals.count(EventKind::kClosed, info("as", ""), {});
  ConnectionInfo inTunnel = info("a", "s");
  inTunnel.tunnel = {*Ip::parse("10.0.0.1"), 15008};
  totals.count(EventKind::kClosed, inTunnel, {});
  std::vector<TotalsKey> keys;
  TotalsSums first;
  totals.take([&](const TotalsKey& key, const TotalsSums& sums) {
    keys.push_back(key);
    if (key.sourceIdentity == "a" && !key.mutualTls && key.reason == Reason::kNone) {
      first = sums;
    } else {
      CHECK(sums.closed + sums.failed == 1);
    }
  });
  CHECK(keys.size() == 5);
  CHECK(first.opened == 1);
  CHECK(first.closed == 2);
  CHECK(first.failed == 0);
  CHECK(first.bytesSent == 2);
  CHECK(first.bytesReceived == 20);
  CHECK(totals.empty());
}

TEST_CASE("a refusal moves no bytes, and too many kinds are noticed") {
  Totals totals;
  totals.count(EventKind::kRefused, info("a", "s"), {Reason::kLimit, "", ""});
  totals.take([](const TotalsKey& key, const TotalsSums& sums) {
    CHECK(key.reason == Reason::kLimit);
    CHECK(sums.failed == 1);
    CHECK(sums.bytesSent == 0);
  });
  for (size_t i = 0; i + 1 < kTotalsMax; i++) {
    totals.count(EventKind::kOpened, info(std::to_string(i).c_str(), "s"), {});
  }
  CHECK_FALSE(totals.full());
  totals.count(EventKind::kOpened, info("last", "s"), {});
  CHECK(totals.full());
}

}  // namespace
}  // namespace weft::proxy
