// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/access_log.h"

#include <doctest/doctest.h>
// clang-format on

#include <algorithm>

namespace weft::proxy {
namespace {

constexpr int64_t kNow = 1'795'194'241'095;  // 2026-11-20T17:04:01.095Z

Endpoint at(const char* ip, uint16_t port) {
  return {*Ip::parse(ip), port};
}

std::shared_ptr<const Workload> workload(const char* name) {
  auto out = std::make_shared<Workload>();
  out->name = name;
  out->namespaceName = "shop";
  return out;
}

ConnectionInfo inTunnel() {
  ConnectionInfo info;
  info.source = at("10.0.0.1", 40000);
  info.destination = at("10.0.0.2", 8080);
  info.tunnel = at("10.0.0.2", 15008);
  info.sourceIdentity = "spiffe://cluster.local/ns/shop/sa/web";
  info.destinationIdentity = "spiffe://cluster.local/ns/shop/sa/cart";
  info.sourceWorkload = workload("web");
  info.destinationWorkload = workload("cart");
  info.destinationService = "shop/cart.shop.svc.cluster.local";
  info.bytesSent = 100;
  info.bytesReceived = 2000;
  info.startedMicros = 1000;
  return info;
}

std::string lineOf(EventKind kind, const ConnectionInfo& info, const Outcome& outcome = {}) {
  AccessLog log("ztunnel", 7, true);
  log.append(kind, info, outcome, 13'345, kNow);
  return log.takeLines();
}

bool has(const std::string& line, const std::string& part) {
  return line.find(part) != std::string::npos;
}

TEST_CASE("a finished connection is one JSON line with the keys of ztunnel") {
  CHECK(lineOf(EventKind::kClosed, inTunnel()) ==
        R"({"level":"info","time":"2026-11-20T17:04:01.095Z","pid":7,"name":"ztunnel",)"
        R"("target":"access","src.addr":"10.0.0.1:40000","src.workload":"web",)"
        R"("src.namespace":"shop","src.identity":"spiffe://cluster.local/ns/shop/sa/web",)"
        R"("dst.addr":"10.0.0.2:15008","dst.hbone_addr":"10.0.0.2:8080",)"
        R"("dst.service":"cart.shop.svc.cluster.local","dst.workload":"cart",)"
        R"("dst.namespace":"shop","dst.identity":"spiffe://cluster.local/ns/shop/sa/cart",)"
        R"("direction":"outbound","bytes_sent":100,"bytes_recv":2000,"duration":"12ms",)"
        R"("msg":"connection complete"})"
        "\n");
}

TEST_CASE("an inbound tunnel is shown at our own tunnel port, IPv6 too") {
  ConnectionInfo info = inTunnel();
  info.direction = Direction::kInbound;
  info.tunnel = at("10.0.0.1", 40001);
  const std::string four = lineOf(EventKind::kClosed, info);
  CHECK(has(four, R"("dst.addr":"10.0.0.2:15008","dst.hbone_addr":"10.0.0.2:8080")"));
  CHECK(has(four, R"("direction":"inbound")"));
  info.destination = at("fd77::2", 8080);
  CHECK(has(lineOf(EventKind::kClosed, info), R"("dst.addr":"[fd77::2]:15008")"));
}

TEST_CASE("plaintext has no identities and no tunnel in its line") {
  ConnectionInfo info = inTunnel();
  info.tunnel = {};
  info.sourceIdentity = info.destinationIdentity = "";
  info.sourceWorkload = nullptr;
  const std::string line = lineOf(EventKind::kClosed, info);
  CHECK(has(line, R"("dst.addr":"10.0.0.2:8080","dst.service")"));
  for (const char* key : {"src.identity", "dst.identity", "dst.hbone_addr", "src.workload"}) {
    CHECK_FALSE(has(line, key));
  }
}

TEST_CASE("what a direct connection measured stands in its line") {
  ConnectionInfo info = inTunnel();
  info.rttMicros = 85;
  info.retransmits = 2;
  CHECK(has(lineOf(EventKind::kClosed, info),
            R"("duration":"12ms","rtt":"85us","retransmits":2,"msg")"));
  CHECK_FALSE(has(lineOf(EventKind::kClosed, inTunnel()), "rtt"));
}

TEST_CASE("what failed is a warning with its reason and policy") {
  const std::string denied =
      lineOf(EventKind::kRefused, inTunnel(), {Reason::kDenied, "denied", "shop/p"});
  CHECK(has(denied, R"({"level":"warn")"));
  CHECK(has(denied, R"j("error":"denied (policy shop/p)","msg":"connection failed")j"));
  const std::string broken = lineOf(EventKind::kClosed, inTunnel(), {Reason::kReset, "", ""});
  CHECK(has(broken, R"({"level":"warn")"));
  CHECK(has(broken, R"("error":"RESET","msg":"connection complete")"));
}

TEST_CASE("a connection that opens has a line only when that is wanted") {
  const std::string line = lineOf(EventKind::kOpened, inTunnel());
  CHECK(has(line, R"({"level":"debug")"));
  CHECK(has(line, R"("direction":"outbound","msg":"connection opened"})"));
  AccessLog quiet("ztunnel", 7, false);
  quiet.append(EventKind::kOpened, inTunnel(), {}, 0, kNow);
  CHECK(quiet.size() == 0);
}

TEST_CASE("only what failed has a line, or nothing, when that is wanted") {
  const Outcome denied{Reason::kDenied, "", ""};
  const Outcome reset{Reason::kReset, "", ""};
  for (const LogLines which : {LogLines::kAll, LogLines::kFailed, LogLines::kNone}) {
    AccessLog log("ztunnel", 7, true, which);
    const auto hasLine = [&](EventKind kind, const Outcome& outcome) {
      log.append(kind, inTunnel(), outcome, 0, kNow);
      const bool written = log.size() > 0;
      CHECK(log.wants(kind, outcome) == written);
      log.takeLines();
      return written;
    };
    CHECK(hasLine(EventKind::kOpened, {}) == (which == LogLines::kAll));
    CHECK(hasLine(EventKind::kClosed, {}) == (which == LogLines::kAll));
    CHECK(hasLine(EventKind::kClosed, reset) == (which != LogLines::kNone));
    CHECK(hasLine(EventKind::kRefused, denied) == (which != LogLines::kNone));
  }
}

TEST_CASE("what nobody wants a line of is not told to be left out") {
  AccessLog log("ztunnel", 7, false, LogLines::kNone);
  for (uint32_t i = 0; i <= kFailureLinesMax; i++) {
    log.append(EventKind::kRefused, inTunnel(), {Reason::kDenied, "", ""}, 1, kNow);
  }
  CHECK_FALSE(log.leavesOut());
}

TEST_CASE("what a peer says cannot break out of its line") {
  std::string out;
  appendJsonString("a\"b\\c\n\x01\x7f\xc3\xa9", out);
  CHECK(out == R"("a\"b\\c\u000a\u0001\u007f??")");
}

TEST_CASE("failures are limited for each reason and window, and what is left out is counted") {
  AccessLog log("ztunnel", 7, false);
  const auto fail = [&](Reason reason, uint64_t atMicros) {
    log.append(EventKind::kRefused, inTunnel(), {reason, "", ""}, atMicros, kNow);
  };
  const auto lines = [&] {
    const std::string text = log.takeLines();
    return std::count(text.begin(), text.end(), '\n');
  };
  constexpr uint64_t kWindow = kFailureWindowMs * 1000;
  for (uint32_t i = 0; i < kFailureLinesMax; i++) {
    fail(Reason::kDenied, kWindow);
  }
  CHECK(lines() == kFailureLinesMax);
  CHECK_FALSE(log.leavesOut());
  fail(Reason::kDenied, kWindow + 1);
  CHECK(lines() == 0);
  CHECK(log.leavesOut());
  fail(Reason::kLimit, kWindow + 1);
  log.append(EventKind::kClosed, inTunnel(), {}, kWindow + 1, kNow);
  CHECK(lines() == 2);
  const auto denied = static_cast<size_t>(Reason::kDenied);
  CHECK(log.takeLeftOut(2 * kWindow - 1)[denied] == 0);
  CHECK(log.takeLeftOut(2 * kWindow)[denied] == 1);
  CHECK_FALSE(log.leavesOut());
  fail(Reason::kDenied, 2 * kWindow);
  CHECK(lines() == 1);
}

}  // namespace
}  // namespace weft::proxy
