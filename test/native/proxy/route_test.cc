// SPDX-License-Identifier: Apache-2.0
#include "proxy/route.h"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "delta_writer.h"

namespace weft::proxy {
namespace {

using Kind = Route::Kind;

constexpr const char* kService = "shop/web.shop.svc.cluster.local";

Endpoint at(const char* ip, uint16_t port) {
  return {*Ip::parse(ip), port};
}

Workload workload(const std::string& name, std::vector<const char*> ips, bool hbone = true) {
  Workload w;
  w.uid = "Kubernetes//Pod/shop/" + name;
  w.name = name;
  w.namespaceName = "shop";
  w.serviceAccount = name;
  w.trustDomain = "cluster.local";
  w.hbone = hbone;
  for (const char* ip : ips) {
    w.addresses.push_back(*Ip::parse(ip));
  }
  return w;
}

Workload serving(Workload w, std::vector<PortMap> ports) {
  w.services = {{kService, std::move(ports)}};
  return w;
}

Service service(std::vector<PortMap> ports = {{80, 8080}}) {
  Service s;
  s.key = kService;
  s.name = "web";
  s.namespaceName = "shop";
  s.hostname = "web.shop.svc.cluster.local";
  s.addresses = {vip("10.96.0.1"), vip("fd96::1")};
  s.ports = std::move(ports);
  return s;
}

class Routes {
 public:
  explicit Routes(const DeltaWriter& delta) : tables_(delta.applyTo(Tables::empty()).value()) {}
  Route to(const char* ip, uint16_t port) {
    return decideRoute({*tables_, source_, at(ip, port), registryOnly_, {}}, balancer_, 0);
  }
  Routes& registryOnly() {
    registryOnly_ = true;
    return *this;
  }

 private:
  bool registryOnly_ = false;
  std::shared_ptr<const Tables> tables_;
  Workload source_ = workload("client", {"10.0.0.1"});
  Balancer balancer_{1};
};

std::vector<std::string> textsOf(const Route& route) {
  std::vector<std::string> out;
  for (const tls::SpiffeId& id : route.expected) {
    out.push_back(id.text);
  }
  return out;
}

TEST_CASE("an enrolled workload is reached by tunnel, under its own identity alone") {
  Routes routes(DeltaWriter().add(workload("web", {"10.0.0.2"})));
  const Route route = routes.to("10.0.0.2", 8080);
  CHECK(route.kind == Kind::kTunnel);
  CHECK(route.target == at("10.0.0.2", 8080));
  CHECK(route.tunnel == at("10.0.0.2", 15008));
  CHECK(textsOf(route) == std::vector<std::string>{"spiffe://cluster.local/ns/shop/sa/web"});
  CHECK(route.workload->name == "web");
  CHECK(route.service.empty());
}

TEST_CASE("what is not enrolled, not in the mesh, or the source itself is reached in plaintext") {
  Routes routes(DeltaWriter()
                    .add(workload("old", {"10.0.0.3"}, false))
                    .add(workload("client", {"10.0.0.1"})));
  for (const char* ip : {"10.0.0.3", "192.0.2.1", "2001:db8::1", "10.0.0.1"}) {
    CAPTURE(ip);
    const Route route = routes.to(ip, 8080);
    CHECK(route.kind == Kind::kPassthrough);
    CHECK(route.target == at(ip, 8080));
    CHECK(route.expected.empty());
    CHECK_FALSE(route.detail.empty());
  }
  CHECK(routes.to("10.0.0.3", 8080).workload != nullptr);
  CHECK(routes.to("192.0.2.1", 8080).workload == nullptr);
}

TEST_CASE("a service is reached at an endpoint of it, by the endpoint's own port first") {
  Service named = service({{80, 8080}});
  named.subjectAltNames = {"spiffe://cluster.local/ns/shop/sa/other"};
  Routes routes(DeltaWriter().add(named).add(
      serving(workload("web", {"10.0.0.2"}), {{80, 9090}, {81, 9191}})));
  const Route route = routes.to("10.96.0.1", 80);
  CHECK(route.kind == Kind::kTunnel);
  CHECK(route.target == at("10.0.0.2", 9090));
  CHECK(route.tunnel == at("10.0.0.2", 15008));
  CHECK(route.service == kService);
  CHECK(textsOf(route) == std::vector<std::string>{"spiffe://cluster.local/ns/shop/sa/web",
                                                   "spiffe://cluster.local/ns/shop/sa/other"});
  CHECK(routes.to("10.96.0.1", 81).target.port == 9191);
}

TEST_CASE("the service's port holds for endpoints that name none") {
  Routes routes(DeltaWriter().add(service()).add(serving(workload("web", {"10.0.0.2"}), {})));
  CHECK(routes.to("10.96.0.1", 80).target == at("10.0.0.2", 8080));
}

TEST_CASE("an endpoint that is not enrolled is reached in plaintext at the endpoint") {
  Routes routes(
      DeltaWriter().add(service()).add(serving(workload("old", {"10.0.0.3"}, false), {})));
  const Route route = routes.to("10.96.0.1", 80);
  CHECK(route.kind == Kind::kPassthrough);
  CHECK(route.target == at("10.0.0.3", 8080));
}

TEST_CASE("a service that cannot be served is refused, never passed through") {
  Workload sick = serving(workload("sick", {"10.0.0.2"}), {{80, 8080}});
  sick.healthy = false;
  const Workload nowhere = serving(workload("nowhere", {}), {{80, 8080}});
  const Workload nameless = serving(workload("nameless", {"10.0.0.4"}), {});
  DeltaWriter delta;
  const char* why = "no healthy endpoint";
  uint16_t port = 80;
  SUBCASE("without endpoints") {
    delta.add(service());
  }
  SUBCASE("with sick ones") {
    delta.add(service()).add(sick);
  }
  SUBCASE("with endpoints that have no address") {
    delta.add(service()).add(nowhere);
  }
  SUBCASE("at a port it does not have") {
    delta.add(service()).add(nameless);
    port = 81;
    why = "no port 81";
  }
  SUBCASE("at a port whose target nobody names") {
    delta.add(service({{80, 0}})).add(nameless);
    why = "no port 80";
  }
  Routes routes(delta);
  const Route route = routes.to("10.96.0.1", port);
  CHECK(route.kind == Kind::kRefuse);
  CHECK(route.detail.find(why) != std::string::npos);
  CHECK(Route().kind == Kind::kRefuse);
}

TEST_CASE("an identity that does not parse is refused, the workload's or the service's") {
  Workload bad = workload("web", {"10.0.0.2"});
  DeltaWriter delta;
  const char* ip = "10.0.0.2";
  SUBCASE("the workload's") {
    bad.serviceAccount = "a/../b";
    delta.add(bad);
  }
  SUBCASE("the service's") {
    Service named = service();
    named.subjectAltNames = {"https://elsewhere"};
    delta.add(named).add(serving(bad, {}));
    ip = "10.96.0.1";
  }
  Routes routes(delta);
  const Route route = routes.to(ip, 80);
  CHECK(route.kind == Kind::kRefuse);
  CHECK(route.detail.find("identity") != std::string::npos);
}

TEST_CASE("an endpoint is reached in the family that was asked for, where it has it") {
  Routes routes(DeltaWriter().add(service()).add(
      serving(workload("both", {"10.0.0.2", "fd00::2"}), {{80, 1}})));
  CHECK(routes.to("10.96.0.1", 80).target == at("10.0.0.2", 1));
  CHECK(routes.to("fd96::1", 80).target == at("fd00::2", 1));
  Routes only(DeltaWriter().add(service()).add(serving(workload("six", {"fd00::3"}), {})));
  CHECK(only.to("10.96.0.1", 80).target == at("fd00::3", 8080));
}

TEST_CASE("all usable endpoints are picked, about evenly, and no other") {
  Workload sick = serving(workload("sick", {"10.0.0.9"}), {{80, 1}});
  sick.healthy = false;
  Routes routes(DeltaWriter()
                    .add(service({{80, 0}}))
                    .add(serving(workload("a", {"10.0.0.2"}), {{80, 1}}))
                    .add(serving(workload("b", {"10.0.0.3"}), {{80, 2}}))
                    .add(serving(workload("other-port", {"10.0.0.4"}), {{81, 3}}))
                    .add(sick));
  std::map<uint16_t, int> picks;
  for (int i = 0; i < 1000; i++) {
    picks[routes.to("10.96.0.1", 80).target.port]++;
  }
  CHECK(picks.size() == 2);
  CHECK(picks[1] > 400);
  CHECK(picks[2] > 400);
}

TEST_CASE("the proxy's own ports and loopback are refused, also behind a service") {
  Routes routes(DeltaWriter()
                    .add(workload("web", {"10.0.0.2"}))
                    .add(service({{80, 15008}}))
                    .add(serving(workload("loop", {"10.0.0.3"}), {})));
  for (const auto& [ip, port] :
       std::map<const char*, uint16_t>{{"127.0.0.1", 80}, {"::1", 80}, {"0.0.0.0", 80}}) {
    CHECK(routes.to(ip, port).kind == Kind::kRefuse);
  }
  for (const uint16_t port : {15001, 15006, 15008}) {
    CHECK(routes.to("10.0.0.2", port).kind == Kind::kRefuse);
    CHECK(routes.to("192.0.2.1", port).kind == Kind::kRefuse);
  }
  CHECK(routes.to("10.96.0.1", 80).kind == Kind::kRefuse);
  CHECK(routes.to("10.0.0.2", 15007).kind == Kind::kTunnel);
}

TEST_CASE("with the registry only, what nobody registered is refused and the rest is not") {
  Service egress = service();
  egress.key = "shop/egress";
  egress.addresses = {{{*Ip::parse("192.0.2.0"), 24}, ""}};
  egress.loadBalancing.mode = LoadBalancing::Mode::kPassthrough;
  Routes routes(DeltaWriter()
                    .add(workload("old", {"10.0.0.3"}, false))
                    .add(workload("web", {"10.0.0.2"}))
                    .add(egress));
  routes.registryOnly();
  const Route refused = routes.to("198.51.100.1", 443);
  CHECK(refused.kind == Kind::kRefuse);
  CHECK(refused.detail.find("not in the mesh") != std::string::npos);
  CHECK(routes.to("10.0.0.3", 80).kind == Kind::kPassthrough);
  CHECK(routes.to("10.0.0.2", 80).kind == Kind::kTunnel);
  CHECK(routes.to("192.0.2.7", 443).kind == Kind::kPassthrough);
}

TEST_CASE(
    "a service that passes through leads to the address itself, in a tunnel if that is ours") {
  Service open = service();
  open.addresses = {{{*Ip::parse("10.0.0.0"), 16}, ""}};
  open.loadBalancing.mode = LoadBalancing::Mode::kPassthrough;
  Routes routes(DeltaWriter().add(open).add(workload("web", {"10.0.0.2"})));
  const Route plain = routes.to("10.0.0.77", 443);
  CHECK(plain.kind == Kind::kPassthrough);
  CHECK(plain.target == at("10.0.0.77", 443));
  CHECK(plain.service == kService);
  const Route tunnel = routes.to("10.0.0.2", 443);
  CHECK(tunnel.kind == Kind::kTunnel);
  CHECK(tunnel.target == at("10.0.0.2", 443));
}

TEST_CASE("nothing goes round a waypoint") {
  Workload behind = workload("behind", {"10.0.0.2"});
  behind.waypoint = true;
  Service own = service();
  own.waypoint = true;
  Service open = own;
  open.key = "shop/open";
  open.addresses = {vip("10.96.0.2")};
  open.loadBalancing.mode = LoadBalancing::Mode::kPassthrough;
  Routes routes(DeltaWriter().add(behind).add(own).add(open).add(
      serving(workload("web", {"10.0.0.3"}), {{80, 1}})));
  for (const char* ip : {"10.0.0.2", "10.96.0.1", "10.96.0.2"}) {
    CAPTURE(ip);
    const Route route = routes.to(ip, 80);
    CHECK(route.kind == Kind::kRefuse);
    CHECK(route.detail.find("waypoint") != std::string::npos);
  }
  // A service without one leads to its endpoints, whatever they need when addressed themselves.
  Routes through(DeltaWriter().add(service()).add(serving(behind, {})));
  CHECK(through.to("10.96.0.1", 80).kind == Kind::kTunnel);
}

TEST_CASE("an endpoint in its node's network is reached in plaintext, and not by its address") {
  Workload host = serving(workload("host", {"10.0.0.9"}), {});
  host.hostNetwork = true;
  Routes routes(DeltaWriter().add(service()).add(host));
  const Route route = routes.to("10.96.0.1", 80);
  CHECK(route.kind == Kind::kPassthrough);
  CHECK(route.target == at("10.0.0.9", 8080));
  CHECK(routes.to("10.0.0.9", 8080).workload == nullptr);
}

TEST_CASE("a route to an endpoint holds a lease on it; another endpoint comes next") {
  const std::shared_ptr<const Tables> tables = DeltaWriter()
                                                   .add(service())
                                                   .add(serving(workload("a", {"10.0.0.2"}), {}))
                                                   .add(serving(workload("b", {"10.0.0.3"}), {}))
                                                   .applyTo(Tables::empty())
                                                   .value();
  const Workload source = workload("client", {"10.0.0.1"});
  Balancer balancer(1);
  const RouteQuery query{*tables, source, at("10.96.0.1", 80), false, {}};
  Route first = decideRoute(query, balancer, 0);
  REQUIRE(first.kind == Kind::kTunnel);
  CHECK(balancer.stateOf(first.workload->uid, 8080)->active == 1);
  first.lease.failed(0);
  const std::vector<std::string> tried = {first.workload->uid};
  RouteQuery again = query;
  again.tried = tried;
  const Route second = decideRoute(again, balancer, 0);
  CHECK(second.kind == Kind::kTunnel);
  CHECK(second.workload->uid != first.workload->uid);
}

TEST_CASE("a route that is refused holds no lease") {
  Service named = service();
  named.subjectAltNames = {"https://elsewhere"};
  const auto tables = DeltaWriter()
                          .add(named)
                          .add(serving(workload("a", {"10.0.0.2"}), {}))
                          .applyTo(Tables::empty())
                          .value();
  Balancer balancer(1);
  const Workload source = workload("client", {"10.0.0.1"});
  const Route route = decideRoute({*tables, source, at("10.96.0.1", 80), false, {}}, balancer, 0);
  CHECK(route.kind == Kind::kRefuse);
  CHECK(balancer.stateCount() == 0);
}

TEST_CASE("an open connection is stale when its destination is not what it was") {
  const Workload before = workload("web", {"10.0.0.2", "fd00::2"});
  const auto why = [&](const DeltaWriter& change, const char* by = "",
                       const char* target = "10.0.0.2") {
    const auto tables =
        change.applyTo(DeltaWriter().add(before).add(service()).applyTo(Tables::empty()).value())
            .value();
    return whyStale(*tables, before, *Ip::parse(target), by);
  };
  const auto changed = [&](auto change) {
    Workload after = before;
    change(after);
    return why(DeltaWriter().add(after));
  };
  CHECK(why(DeltaWriter()) == "");
  CHECK(why(DeltaWriter().add(before)) == "");
  CHECK(changed([](Workload& w) { w.healthy = false; }) == "");
  CHECK(changed([](Workload& w) { w.addresses.pop_back(); }) == "");
  CHECK(why(DeltaWriter().removeWorkload(before.uid)).find("gone") != std::string::npos);
  CHECK(changed([](Workload& w) { w.serviceAccount = "x"; }).find("identity") != std::string::npos);
  CHECK(changed([](Workload& w) { w.hbone = false; }).find("no longer") != std::string::npos);
  CHECK(changed([](Workload& w) { w.hostNetwork = true; }).find("no longer") != std::string::npos);
  CHECK(changed([](Workload& w) { w.network = "x"; }).find("address") != std::string::npos);
  CHECK(changed([](Workload& w) { w.addresses.erase(w.addresses.begin()); }).find("address") !=
        std::string::npos);
  CHECK(changed([](Workload& w) { w.waypoint = true; }).find("waypoint") != std::string::npos);
  Workload behind = before;
  behind.waypoint = true;
  CHECK(why(DeltaWriter().add(behind), kService) == "");
  Service by = service();
  by.waypoint = true;
  CHECK(why(DeltaWriter().add(by), kService).find("waypoint") != std::string::npos);
  CHECK(why(DeltaWriter().removeService(kService), kService) == "");
}

}  // namespace
}  // namespace weft::proxy
