// SPDX-License-Identifier: Apache-2.0
#include "proxy/explain.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "delta_writer.h"
#include "naive_policy.h"

namespace weft::proxy {
namespace {

using Kind = Route::Kind;

constexpr const char* kService = "n1/web.n1";

Endpoint at(const std::string& ip, uint16_t port) {
  return {*Ip::parse(ip), port};
}

Workload workload(const std::string& name, const std::string& ip) {
  Workload w;
  w.uid = name;
  w.name = name;
  w.namespaceName = "n1";
  w.serviceAccount = name;
  w.trustDomain = "td";
  w.addresses = {*Ip::parse(ip)};
  w.hbone = true;
  return w;
}

Workload serving(Workload w) {
  w.services = {{kService, {{80, 8080}}}};
  return w;
}

Service service() {
  Service s;
  s.key = kService;
  s.namespaceName = "n1";
  s.addresses = {vip("10.96.0.1")};
  return s;
}

Policy denying(const std::string& account) {
  PolicyMatch who;
  who.principals = {{StringMatch::Kind::kExact, "td/ns/n1/sa/" + account}};
  Policy policy;
  policy.key = "n1/no-" + account;
  policy.namespaceName = "n1";
  policy.action = PolicyAction::kDeny;
  policy.rules = {{{{{PolicyMatch{}}}}}, {{{{who}}}}};
  return policy;
}

std::shared_ptr<const Tables> mesh() {
  Workload plain = workload("plain", "10.0.0.4");
  plain.hbone = false;
  Workload host = workload("host", "10.0.0.5");
  host.hostNetwork = true;
  return DeltaWriter()
      .add(workload("client", "10.0.0.1"))
      .add(serving(workload("a", "10.0.0.2")))
      .add(serving(workload("b", "10.0.0.3")))
      .add(plain)
      .add(host)
      .add(service())
      .add(denying("client"))
      .add(denying("plain"))
      .policiesReceived()
      .applyTo(Tables::empty())
      .value();
}

Explanation ask(const std::string& source, const Endpoint& to, bool registryOnly = false) {
  return explain(*mesh(), source, to, registryOnly).value();
}

TEST_CASE("a tunnel to a service is explained by all its nearest endpoints") {
  const Explanation e = ask("a", at("10.96.0.1", 80));
  CHECK(e.path == Kind::kTunnel);
  CHECK(e.captured);
  CHECK(e.service == kService);
  CHECK(e.sourceIdentity == "spiffe://td/ns/n1/sa/a");
  CHECK(e.endpointsTotal == 2);
  REQUIRE(e.endpoints.size() == 2);
  CHECK(e.endpoints[1].route.target == at("10.0.0.3", 8080));
  CHECK(e.endpoints[1].route.expected.at(0).text == "spiffe://td/ns/n1/sa/b");
  CHECK(e.endpoints[1].verdict.allowed);
  CHECK_FALSE(e.endpoints[0].checked);  // It is the source itself.
}

TEST_CASE("a policy that denies is named, with the rule of it that matches") {
  const Explanation e = ask("client", at("10.0.0.2", 8080));
  CHECK(e.path == Kind::kTunnel);
  REQUIRE(e.endpoints.at(0).checked);
  CHECK_FALSE(e.endpoints[0].verdict.allowed);
  CHECK(e.endpoints[0].verdict.policy == "n1/no-client");
  CHECK(e.endpoints[0].verdict.rule == 1);
}

TEST_CASE("nobody asks policy where no proxy stands") {
  for (const char* ip : {"10.0.0.4", "192.0.2.1"}) {
    const Explanation e = ask("client", at(ip, 80));
    CHECK(e.path == Kind::kPassthrough);
    CHECK(e.sourceIdentity.empty());
    CHECK_FALSE(e.endpoints.at(0).checked);
    CHECK(e.endpoints[0].route.target == at(ip, 80));
  }
}

TEST_CASE("what is refused says why") {
  const Explanation port = ask("client", at("10.96.0.1", 81));
  CHECK(port.path == Kind::kRefuse);
  CHECK(port.service == kService);
  CHECK(port.endpoints.empty());
  CHECK(port.why.find("no port 81") != std::string::npos);
  const Explanation unknown = ask("client", at("192.0.2.1", 80), true);
  CHECK(unknown.path == Kind::kRefuse);
  CHECK(unknown.why.find("not in the mesh") != std::string::npos);
  CHECK(ask("client", at("127.0.0.1", 80)).path == Kind::kRefuse);
}

TEST_CASE("a source that is not in the mesh is said to go past the proxy, without identity") {
  const Explanation e = ask("plain", at("10.0.0.2", 8080));
  CHECK_FALSE(e.captured);
  CHECK(e.path == Kind::kPassthrough);
  CHECK(e.sourceIdentity.empty());
  CHECK(e.why.find("not enrolled") != std::string::npos);
  REQUIRE(e.endpoints.at(0).checked);
  CHECK(e.endpoints[0].verdict.allowed);  // The DENY is about an identity.
  CHECK(e.endpoints[0].route.expected.empty());
  CHECK(ask("host", at("10.0.0.2", 8080)).why.find("node's network") != std::string::npos);
  // Not even what would be refused is.
  CHECK(ask("plain", at("192.0.2.1", 80), true).path == Kind::kPassthrough);
  CHECK(explain(*mesh(), "nobody", at("10.0.0.2", 80), false).status().code() == Code::kInvalid);
}

TEST_CASE("endpoints past the greatest number are counted only") {
  DeltaWriter delta;
  delta.add(service()).add(workload("client", "10.1.0.1")).policiesReceived();
  for (size_t i = 0; i < kExplainedEndpointsMax + 1; i++) {
    delta.add(serving(workload("e" + std::to_string(i), "10.0.0." + std::to_string(i + 1))));
  }
  const auto tables = delta.applyTo(Tables::empty()).value();
  const Explanation e = explain(*tables, "client", at("10.96.0.1", 80), false).value();
  CHECK(e.endpoints.size() == kExplainedEndpointsMax);
  CHECK(e.endpointsTotal == kExplainedEndpointsMax + 1);
}

/// A mesh of everything that decides routes, and connections in it.
class RandomMesh {
 public:
  explicit RandomMesh(uint32_t seed) : maker_(seed) {
    DeltaWriter delta;
    delta.policiesReceived();
    for (size_t i = 0; i < 20; i++) {
      delta.add(drawWorkload(i));
    }
    for (size_t i = 0; i < 6; i++) {
      delta.add(drawService(i));
    }
    for (size_t i = 0; i < 20; i++) {
      delta.add(maker_.policy("p" + std::to_string(i), maker_.space()));
    }
    tables = delta.applyTo(Tables::empty()).value();
  }

  std::string source() { return "w" + std::to_string(maker_.below(20)); }
  Endpoint destination() {
    const std::string last = std::to_string(1 + maker_.below(24));
    return at((maker_.below(2) == 0 ? "10.0.0." : "10.96.0.") + last,
              static_cast<uint16_t>(80 + maker_.below(2)));
  }
  bool coin() { return maker_.below(2) == 0; }

  std::shared_ptr<const Tables> tables;

 private:
  Workload drawWorkload(size_t i) {
    Workload w = workload("w" + std::to_string(i), "10.0.0." + std::to_string(i + 1));
    w.namespaceName = maker_.space();
    w.hbone = maker_.below(4) != 0;
    w.hostNetwork = maker_.below(10) == 0;
    w.healthy = maker_.below(6) != 0;
    w.waypoint = maker_.below(10) == 0;
    w.network = maker_.below(8) == 0 ? "east" : "";
    w.node = "n" + std::to_string(maker_.below(3));
    for (size_t s = 0; s < 6; s++) {
      if (maker_.below(3) == 0) {
        w.services.push_back({"s" + std::to_string(s), {{80, 8080}}});
      }
    }
    return w;
  }

  Service drawService(size_t i) {
    Service s;
    s.key = "s" + std::to_string(i);
    s.namespaceName = maker_.space();
    s.addresses = {vip("10.96.0." + std::to_string(1 + maker_.below(8)))};
    s.waypoint = maker_.below(8) == 0;
    s.ownNamespaceOnly = maker_.below(4) == 0;
    s.loadBalancing = {static_cast<LoadBalancing::Mode>(maker_.below(4)), {Nearness::kNode}, false};
    return s;
  }

  PolicyMaker maker_;
};

TEST_CASE("for random pairs it says what a connection is decided to be") {
  size_t seen[3] = {};
  for (uint32_t seed = 1; seed <= 20; seed++) {
    RandomMesh mesh(seed);
    Balancer balancer(seed);
    for (int i = 0; i < 100; i++) {
      const auto source = mesh.tables->workloadByUid(mesh.source());
      const Endpoint to = mesh.destination();
      const bool registryOnly = mesh.coin();
      const Explanation e = explain(*mesh.tables, source->uid, to, registryOnly).value();
      CHECK(e.captured == (source->hbone && !source->hostNetwork));
      if (!e.captured) {
        continue;
      }
      const Route route =
          decideRoute({*mesh.tables, *source, to, registryOnly, {}}, balancer, 1'000'000);
      CAPTURE(seed);
      CAPTURE(to.toString());
      CAPTURE(route.detail);
      seen[static_cast<size_t>(route.kind)]++;
      REQUIRE(e.service == route.service);
      if (e.endpoints.empty()) {
        REQUIRE(route.kind == Kind::kRefuse);
        REQUIRE(e.why == route.detail);
        continue;
      }
      const auto leg = std::find_if(
          e.endpoints.begin(), e.endpoints.end(),
          [&](const Explanation::Endpoint& one) { return one.route.target == route.target; });
      REQUIRE(leg != e.endpoints.end());
      REQUIRE(leg->route.kind == route.kind);
      REQUIRE(leg->route.tunnel == route.tunnel);
      REQUIRE(leg->route.expected == route.expected);
      REQUIRE(leg->route.detail == route.detail);
      if (leg->checked) {
        const Verdict verdict = mesh.tables->authorize(
            *route.workload, {route.kind == Kind::kTunnel ? e.sourceIdentity : "",
                              source->addresses.at(0), route.target.ip, route.target.port});
        REQUIRE(leg->verdict.allowed == verdict.allowed);
        REQUIRE(leg->verdict.policy == verdict.policy);
        REQUIRE(leg->verdict.rule == verdict.rule);
      }
    }
  }
  // The draw is of use only while every answer comes often.
  for (const size_t count : seen) {
    CHECK(count > 100);
  }
}

}  // namespace
}  // namespace weft::proxy
