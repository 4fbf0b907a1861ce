// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound_route.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "delta_writer.h"

namespace weft::proxy {
namespace {

constexpr const char* kAlice = "spiffe://td/ns/shop/sa/alice";
constexpr const char* kMallory = "spiffe://td/ns/shop/sa/mallory";

Workload pod() {
  Workload w;
  w.uid = "w";
  w.namespaceName = "shop";
  w.services = {{"other/web.mesh", {{80, 8082}}},
                {"shop/web.mesh", {{80, 8080}, {81, 0}}},
                {"other/far.mesh", {{80, 8080}}},
                {"shop/unknown.mesh", {{80, 8080}}}};
  return w;
}

Service service(const std::string& key, std::vector<PortMap> ports) {
  Service s;
  s.key = key;
  s.namespaceName = key.substr(0, key.find('/'));
  s.hostname = key.substr(key.find('/') + 1);
  s.ports = std::move(ports);
  return s;
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
  DeltaWriter delta;
  delta.add(allow).policiesReceived();
  delta.add(service("shop/Web.mesh", {}));  // of another spelling, and not the pod's
  delta.add(service("shop/web.mesh", {{80, 9}, {81, 8081}, {82, 15008}, {83, 0}}));
  delta.add(service("other/web.mesh", {{80, 8082}}));
  delta.add(service("other/far.mesh", {}));
  delta.add(service("shop/elsewhere.mesh", {{80, 8080}}));
  return delta.applyTo(Tables::empty()).value();
}

struct Case {
  const char* what;
  const char* method = "CONNECT";
  const char* authority = "10.0.0.2:8080";
  const char* identity = kAlice;
  bool known = true;
  int status;
  Reason reason = Reason::kNone;
};

TEST_CASE("requests are answered as peers expect, and every doubt refuses") {
  const Case cases[] = {
      {.what = "good", .status = 200, .reason = Reason::kNone},
      {.what = "another method", .method = "GET", .status = 400, .reason = Reason::kBadRequest},
      {.what = "lower case", .method = "connect", .status = 400, .reason = Reason::kBadRequest},
      {.what = "no authority", .authority = "", .status = 400, .reason = Reason::kBadRequest},
      {.what = "a misspelled name",
       .authority = "web..mesh:80",
       .status = 400,
       .reason = Reason::kBadRequest},
      {.what = "a service of the pod", .authority = "web.mesh:80", .status = 200},
      {.what = "in another case", .authority = "WEB.Mesh:80", .status = 200},
      {.what = "of another namespace", .authority = "far.mesh:80", .status = 200},
      {.what = "at a port that is denied",
       .authority = "web.mesh:81",
       .status = 401,
       .reason = Reason::kDenied},
      {.what = "by an identity that is denied",
       .authority = "web.mesh:80",
       .identity = kMallory,
       .status = 401,
       .reason = Reason::kDenied},
      {.what = "at the tunnel's own port",
       .authority = "web.mesh:82",
       .status = 503,
       .reason = Reason::kNoRoute},
      {.what = "a port that stands for none here",
       .authority = "web.mesh:83",
       .status = 503,
       .reason = Reason::kNoRoute},
      {.what = "a port that it has not",
       .authority = "web.mesh:8080",
       .status = 503,
       .reason = Reason::kNoRoute},
      {.what = "a service of other pods",
       .authority = "elsewhere.mesh:80",
       .status = 503,
       .reason = Reason::kNoRoute},
      {.what = "one that the tables do not know",
       .authority = "unknown.mesh:80",
       .status = 503,
       .reason = Reason::kNoRoute},
      {.what = "nobody's", .authority = "web:80", .status = 503, .reason = Reason::kNoRoute},
      {.what = "a service of a pod nobody knows",
       .authority = "web.mesh:80",
       .known = false,
       .status = 503,
       .reason = Reason::kNoRoute},
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

TEST_CASE("a service's name means the pod's own address and the target port there") {
  const auto state = tables();
  const Workload workload = pod();
  InboundRequest request{
      "CONNECT", "web.mesh:80", {*Ip::parse("fd00::2"), 15008}, *Ip::parse("fd00::1"), kAlice};
  const auto answer = validateInbound(*state, &workload, request);
  CHECK(answer.target == Endpoint{*Ip::parse("fd00::2"), 8080});
  CHECK(answer.service == "shop/web.mesh");
  request.authority = "web.mesh:81";
  CHECK(validateInbound(*state, &workload, request).target.port == 8081);
  Workload guest = workload;
  guest.namespaceName = "far";
  request.authority = "web.mesh:80";
  CHECK(validateInbound(*state, &guest, request).service == "other/web.mesh");
  request.authority = "nobody.mesh:80";
  CHECK(validateInbound(*state, &workload, request).target == request.local);
  CHECK(validateInbound(*state, &workload, request).service.empty());
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
