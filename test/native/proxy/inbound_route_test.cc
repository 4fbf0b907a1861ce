// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound_route.h"

#include <doctest/doctest.h>

#include <string>

#include "delta_writer.h"

namespace weft::proxy {
namespace {

constexpr const char* kAlice = "spiffe://td/ns/shop/sa/alice";
constexpr const char* kMallory = "spiffe://td/ns/shop/sa/mallory";

Workload pod() {
  Workload w;
  w.uid = "w";
  w.namespaceName = "shop";
  return w;
}

/// Only alice may, and only at 8080.
std::shared_ptr<const Tables> tables() {
  PolicyMatch alice;
  alice.principals = {{StringMatch::Kind::kExact, "td/ns/shop/sa/alice"}};
  alice.destinationPorts = {8080};
  Policy allow;
  allow.key = "shop/alice";
  allow.namespaceName = "shop";
  allow.rules = {{{{{alice}}}}};
  return DeltaWriter().add(allow).policiesReceived().applyTo(Tables::empty()).value();
}

struct Case {
  const char* what;
  const char* method = "CONNECT";
  const char* authority = "10.0.0.2:8080";
  const char* identity = kAlice;
  bool known = true;
  int status;
  Reason reason;
};

TEST_CASE("requests are answered as peers expect, and every doubt refuses") {
  const Case cases[] = {
      {.what = "good", .status = 200, .reason = Reason::kNone},
      {.what = "another method", .method = "GET", .status = 400, .reason = Reason::kBadRequest},
      {.what = "lower case", .method = "connect", .status = 400, .reason = Reason::kBadRequest},
      {.what = "no authority", .authority = "", .status = 400, .reason = Reason::kBadRequest},
      {.what = "a host name", .authority = "web:80", .status = 400, .reason = Reason::kBadRequest},
      {.what = "no port", .authority = "10.0.0.2", .status = 400, .reason = Reason::kBadRequest},
      {.what = "another pod's address",
       .authority = "10.0.0.3:8080",
       .status = 400,
       .reason = Reason::kBadRequest},
      {.what = "loopback",
       .authority = "127.0.0.1:8080",
       .status = 400,
       .reason = Reason::kBadRequest},
      {.what = "the proxy's outbound port",
       .authority = "10.0.0.2:15001",
       .status = 503,
       .reason = Reason::kNoRoute},
      {.what = "the proxy's plaintext port",
       .authority = "10.0.0.2:15006",
       .status = 503,
       .reason = Reason::kNoRoute},
      {.what = "the tunnel's own port",
       .authority = "10.0.0.2:15008",
       .status = 503,
       .reason = Reason::kNoRoute},
      {.what = "a pod nobody knows", .known = false, .status = 503, .reason = Reason::kNoRoute},
      {.what = "an identity that is denied",
       .identity = kMallory,
       .status = 401,
       .reason = Reason::kDenied},
      {.what = "a port that is denied",
       .authority = "10.0.0.2:8081",
       .status = 401,
       .reason = Reason::kDenied},
  };
  const auto state = tables();
  const Workload workload = pod();
  for (const Case& one : cases) {
    CAPTURE(one.what);
    const InboundAnswer answer = validateInbound(*state, one.known ? &workload : nullptr,
                                                 {one.method,
                                                  one.authority,
                                                  {*Ip::parse("10.0.0.2"), 15008},
                                                  *Ip::parse("10.0.0.1"),
                                                  one.identity});
    CHECK(answer.status == one.status);
    CHECK(answer.outcome.reason == one.reason);
    CHECK(answer.outcome.detail.empty() == (one.status == 200));
  }
  CHECK(InboundAnswer().status != 200);
  CHECK(InboundAnswer().outcome.reason != Reason::kNone);
}

TEST_CASE("the target is the application, and the policy that decides is named") {
  const auto state = DeltaWriter().applyTo(Tables::empty()).value();
  const Workload workload = pod();
  InboundRequest request{
      "CONNECT", "[fd00::2]:8080", {*Ip::parse("fd00::2"), 15008}, *Ip::parse("fd00::1"), kAlice};
  const InboundAnswer unready = validateInbound(*state, &workload, request);
  CHECK(unready.status == 401);  // no policies were received
  CHECK(unready.target == Endpoint{*Ip::parse("fd00::2"), 8080});
  request.authority = "nonsense";
  CHECK(validateInbound(*state, &workload, request).target == request.local);
  Workload bound = workload;
  bound.policies = {"shop/missing"};
  request.authority = "[fd00::2]:8080";
  CHECK(validateInbound(*tables(), &bound, request).outcome.policy == "shop/missing");
}

TEST_CASE("plaintext is judged without an identity") {
  PolicyMatch anyone;
  anyone.principals = {{StringMatch::Kind::kPresence, ""}};
  Policy open;
  open.key = "shop/open";
  open.namespaceName = "shop";
  open.rules = {{}};
  Policy strict = open;
  strict.key = "shop/strict";
  strict.rules = {{{{{anyone}}}}};
  const Workload workload = pod();
  const auto status = [&](const Policy& policy, const Workload* destination, uint16_t port) {
    const auto state =
        DeltaWriter().add(policy).policiesReceived().applyTo(Tables::empty()).value();
    return validatePlaintext(*state, destination, {*Ip::parse("10.0.0.2"), port},
                             *Ip::parse("10.0.0.1"))
        .status;
  };
  CHECK(status(open, &workload, 8080) == 200);
  CHECK(status(strict, &workload, 8080) == 401);
  CHECK(status(open, &workload, 15006) == 503);
  CHECK(status(open, nullptr, 8080) == 503);
}

}  // namespace
}  // namespace weft::proxy
