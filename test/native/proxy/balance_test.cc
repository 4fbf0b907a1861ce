// SPDX-License-Identifier: Apache-2.0
#include "proxy/balance.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "delta_writer.h"

namespace weft::proxy {
namespace {

using Mode = LoadBalancing::Mode;

constexpr const char* kService = "shop/web";

Workload endpoint(const std::string& uid, const std::string& ip) {
  Workload w;
  w.uid = uid;
  w.namespaceName = "shop";
  w.addresses = {*Ip::parse(ip)};
  w.services = {{kService, {{80, 8080}}}};
  w.cluster = "Kubernetes";
  return w;
}

Workload placed(Workload w, const std::string& region, const std::string& zone,
                const std::string& node) {
  w.locality = {region, zone, ""};
  w.node = node;
  return w;
}

/// A service, its endpoints, and the balancer of one worker.
class Fixture {
 public:
  explicit Fixture(const std::vector<Workload>& endpoints, LoadBalancing balancing = {},
                   Service::Families families = Service::Families::kAutomatic) {
    Service service;
    service.key = kService;
    service.loadBalancing = std::move(balancing);
    service.families = families;
    DeltaWriter delta;
    delta.add(service);
    for (const Workload& one : endpoints) {
      delta.add(one);
    }
    tables_ = delta.applyTo(Tables::empty()).value();
    service_ = tables_->serviceByKey(kService);
    source_ = placed(endpoint("source", "10.0.9.9"), "eu", "eu-1", "n1");
  }

  Balancer::Pick pick(std::vector<std::string> tried = {}) {
    tried_ = std::move(tried);
    return balancer_.pick({*tables_, service_, source_, at_, tried_, picked_}, now_);
  }
  std::string uid(std::vector<std::string> tried = {}) { return uidOf(pick(std::move(tried))); }
  static std::string uidOf(const Balancer::Pick& pick) {
    return pick.candidate.endpoint == nullptr ? "" : pick.candidate.endpoint->workload->uid;
  }
  std::map<std::string, int> spread(int count) {
    std::map<std::string, int> out;
    for (int i = 0; i < count; i++) {
      out[uid()]++;
    }
    return out;
  }
  /// Fails connects until `victim` was chosen, and failed, `times` times.
  void failConnects(const std::string& victim, int times) {
    while (times > 0) {
      Balancer::Pick chosen = pick();
      if (uidOf(chosen) == victim) {
        chosen.lease.failed(now_);
        times--;
      } else {
        chosen.lease.succeeded();
      }
    }
  }

  std::shared_ptr<const Service> service_;
  Workload source_;
  std::shared_ptr<const Tables> tables_;
  Balancer balancer_{1};
  std::vector<std::string> tried_;
  Endpoint picked_;
  uint64_t now_ = 1'000'000;
  Endpoint at_{*Ip::parse("10.96.0.1"), 80};
};

TEST_CASE("the less busy of two endpoints is chosen, so that leases spread evenly") {
  Fixture f({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")});
  std::vector<Lease> held;
  for (int i = 0; i < 100; i++) {
    held.push_back(f.pick().lease);
  }
  CHECK(f.balancer_.stateOf("a", 8080)->active == 50);
  CHECK(f.balancer_.stateOf("b", 8080)->active == 50);
  held.clear();
  CHECK(f.balancer_.stateCount() == 0);
}

TEST_CASE("capacity weighs, both among idle endpoints and among busy ones") {
  Workload big = endpoint("big", "10.0.0.1");
  big.capacity = 3;
  Workload none = endpoint("none", "10.0.0.3");
  none.capacity = 0;
  Fixture f({big, endpoint("small", "10.0.0.2"), none});
  const auto idle = f.spread(4000);
  CHECK(idle.at("big") > 2800);
  CHECK(idle.at("big") < 3200);
  CHECK(idle.count("none") == 0);
  std::vector<Lease> held;
  for (int i = 0; i < 400; i++) {
    held.push_back(f.pick().lease);
  }
  CHECK(f.balancer_.stateOf("big", 8080)->active == 300);
}

TEST_CASE("an endpoint that was picked before is chosen, if it can be, however busy") {
  Workload far = placed(endpoint("far", "10.0.0.3"), "us", "us-1", "n3");
  Workload ill = endpoint("ill", "10.0.0.4");
  ill.healthy = false;
  LoadBalancing balancing;
  balancing.mode = Mode::kFailover;
  balancing.preference = {Nearness::kRegion};
  Fixture f({placed(endpoint("a", "10.0.0.1"), "eu", "eu-1", "n1"),
             placed(endpoint("b", "10.0.0.2"), "eu", "eu-1", "n2"), far, ill},
            balancing);
  f.picked_ = {*Ip::parse("10.0.0.2"), 8080};
  std::vector<Lease> held;
  for (int i = 0; i < 50; i++) {
    Balancer::Pick chosen = f.pick();
    CHECK(Fixture::uidOf(chosen) == "b");
    held.push_back(std::move(chosen.lease));
  }
  CHECK(f.balancer_.stateOf("b", 8080)->active == 50);
  CHECK(f.uid({"b"}) == "a");
  for (const char* ip : {"10.0.0.3", "10.0.0.4", "10.0.0.9"}) {
    f.picked_ = {*Ip::parse(ip), 8080};
    CHECK(f.spread(20).at("a") == 20);  // the less busy
  }
  f.picked_ = {*Ip::parse("10.0.0.2"), 8081};
  CHECK(f.uid() == "a");
  held.clear();
  f.picked_ = {};
  f.failConnects("b", 3);
  f.picked_ = {*Ip::parse("10.0.0.2"), 8080};
  CHECK(f.spread(20).at("a") == 20);
}

TEST_CASE("what others say of an endpoint counts as what a lease says") {
  Fixture f({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")});
  const auto choice = [&] {
    return f.balancer_.choiceOf({*f.tables_, f.service_, f.source_, f.at_, {}}, f.now_);
  };
  CHECK(choice().near.size() == 2);
  CHECK(choice().untilMs == UINT64_MAX);
  f.balancer_.note("a", 8080, true, f.now_);
  CHECK(f.balancer_.stateCount() == 0);
  f.balancer_.note("a", 8080, false, f.now_);
  f.balancer_.note("a", 8080, false, f.now_);
  f.balancer_.note("a", 8080, true, f.now_);
  const uint64_t before = f.balancer_.ejections();
  f.balancer_.note("a", 8080, false, f.now_);
  f.balancer_.note("a", 8080, false, f.now_);
  CHECK(f.balancer_.ejections() == before);
  CHECK(choice().near.size() == 2);
  f.balancer_.note("a", 8080, false, f.now_);
  CHECK(f.balancer_.ejections() > before);
  REQUIRE(choice().near.size() == 1);
  CHECK(choice().near[0].endpoint->workload->uid == "b");
  CHECK(choice().untilMs == f.now_ + kEjectMs);
  CHECK(f.spread(50).count("a") == 0);
  f.balancer_.note("a", 8080, true, f.now_);
  CHECK(choice().near.size() == 2);
}

TEST_CASE("a lease counts until it dies, wherever it was moved") {
  Fixture f({endpoint("a", "10.0.0.1")});
  {
    Lease first = f.pick().lease;
    Lease second = std::move(first);
    Lease third = f.pick().lease;
    CHECK(f.balancer_.stateOf("a", 8080)->active == 2);
    third = std::move(second);
    CHECK(f.balancer_.stateOf("a", 8080)->active == 1);
    first = Lease();
  }
  CHECK(f.balancer_.stateOf("a", 8080) == nullptr);
  Lease empty;
  empty.succeeded();
  empty.failed(1);
}

TEST_CASE("three connects that fail in a row leave an endpoint out, for a while that doubles") {
  Fixture f({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")});
  f.failConnects("a", 2);
  CHECK(f.spread(100).count("a") == 1);
  f.failConnects("a", 1);
  CHECK(f.spread(100).count("a") == 0);
  f.now_ += kEjectMs - 1;
  CHECK(f.spread(100).count("a") == 0);
  f.now_ += 1;
  CHECK(f.spread(100).count("a") == 1);
  // Back, it has one try.
  f.failConnects("a", 1);
  f.now_ += 2 * kEjectMs - 1;
  CHECK(f.spread(100).count("a") == 0);
  f.now_ += 1;
  CHECK(f.spread(100).count("a") == 1);
  for (int i = 0; i < 20; i++) {
    f.failConnects("a", 1);
    f.now_ += kEjectMaxMs;
  }
  CHECK(f.spread(100).count("a") == 1);
}

TEST_CASE("a connect that succeeds ends the row, and so does time") {
  Fixture f({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")});
  f.failConnects("a", 2);
  f.pick({"b"}).lease.succeeded();
  f.failConnects("a", 2);
  CHECK(f.spread(100).count("a") == 1);
  f.now_ += kEjectWindowMs + 1;
  f.failConnects("a", 2);
  CHECK(f.spread(100).count("a") == 1);
  f.failConnects("a", 1);
  CHECK(f.spread(100).count("a") == 0);
}

TEST_CASE("connects that were under way when an endpoint was left out do not count again") {
  Fixture f({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")});
  std::vector<Lease> underWay;
  for (int i = 0; i < 6; i++) {
    underWay.push_back(f.pick({"b"}).lease);
  }
  for (Lease& lease : underWay) {
    lease.failed(f.now_);
  }
  CHECK(f.balancer_.stateOf("a", 8080)->ejections == 1);
}

TEST_CASE("never more than half of the endpoints are left out, and never the only one") {
  Fixture one({endpoint("a", "10.0.0.1")});
  one.failConnects("a", 10);
  CHECK(one.uid() == "a");
  Fixture three({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2"), endpoint("c", "10.0.0.3")});
  three.failConnects("a", 3);
  three.now_ += 1;
  three.failConnects("b", 3);
  const auto spread = three.spread(200);
  CHECK(spread.count("b") == 0);  // out the longest
  CHECK(spread.count("a") == 1);
  CHECK(spread.count("c") == 1);
}

TEST_CASE("what was tried is not chosen again") {
  Fixture f({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2"), endpoint("c", "10.0.0.3")});
  for (int i = 0; i < 50; i++) {
    CHECK(f.uid({"a", "c"}) == "b");
  }
  const Balancer::Pick none = f.pick({"a", "b", "c"});
  CHECK(none.candidate.endpoint == nullptr);
  CHECK(none.why.find("no other endpoint") != std::string::npos);
}

TEST_CASE("failover prefers the endpoints that share the most, counted from the first scope") {
  const std::vector<Workload> all = {
      placed(endpoint("node", "10.0.0.1"), "eu", "eu-1", "n1"),
      placed(endpoint("zone", "10.0.0.2"), "eu", "eu-1", "n2"),
      placed(endpoint("region", "10.0.0.3"), "eu", "eu-2", "n3"),
      placed(endpoint("far", "10.0.0.4"), "us", "eu-1", "n4"),
      placed(endpoint("unknown", "10.0.0.5"), "", "", ""),
  };
  const LoadBalancing balancing{
      Mode::kFailover,
      {Nearness::kNetwork, Nearness::kRegion, Nearness::kZone, Nearness::kNode},
      false};
  Fixture f(all, balancing);
  CHECK(f.spread(50) == std::map<std::string, int>{{"node", 50}});
  CHECK(f.uid({"node"}) == "zone");
  CHECK(f.uid({"node", "zone"}) == "region");
  const std::string last = f.uid({"node", "zone", "region"});
  CHECK((last == "far" || last == "unknown"));
  // One that is left out gives way to the next nearest.
  f.failConnects("node", 3);
  CHECK(f.spread(50) == std::map<std::string, int>{{"zone", 50}});
}

TEST_CASE("strict takes endpoints that share all scopes, and none else") {
  const std::vector<Workload> all = {
      placed(endpoint("here", "10.0.0.1"), "eu", "eu-1", "n1"),
      placed(endpoint("there", "10.0.0.2"), "eu", "eu-1", "n2"),
  };
  const LoadBalancing onNode{Mode::kStrict, {Nearness::kNode}, false};
  Fixture f(all, onNode);
  CHECK(f.spread(50) == std::map<std::string, int>{{"here", 50}});
  const Balancer::Pick none = f.pick({"here"});
  CHECK(none.candidate.endpoint == nullptr);
  Fixture far({all[1]}, onNode);
  CHECK(far.pick().why.find("as near as it demands") != std::string::npos);
  const LoadBalancing inCluster{Mode::kStrict, {Nearness::kCluster, Nearness::kSubzone}, false};
  Fixture nowhere(all, inCluster);
  CHECK(nowhere.uid() == "");  // a subzone that is not known is nobody's
}

TEST_CASE("without a mode the preference has no effect") {
  Fixture f({placed(endpoint("a", "10.0.0.1"), "eu", "eu-1", "n1"),
             placed(endpoint("b", "10.0.0.2"), "us", "us-1", "n2")},
            {Mode::kAny, {Nearness::kNode}, false});
  CHECK(f.spread(100).size() == 2);
}

TEST_CASE("unhealthy endpoints are chosen only where the service allows it") {
  Workload sick = endpoint("sick", "10.0.0.1");
  sick.healthy = false;
  CHECK(Fixture({sick}).uid() == "");
  CHECK(Fixture({sick}, {Mode::kAny, {}, true}).uid() == "sick");
}

TEST_CASE("endpoints of another network are out of reach") {
  Workload there = endpoint("there", "10.0.0.1");
  there.network = "east";
  Fixture f({there});
  const Balancer::Pick none = f.pick();
  CHECK(none.candidate.endpoint == nullptr);
  CHECK(none.why.find("other networks") != std::string::npos);
}

TEST_CASE("an endpoint of the client's family is preferred, and excluded families are not used") {
  const std::vector<Workload> mixed = {endpoint("four", "10.0.0.1"), endpoint("six", "fd00::1")};
  Fixture f(mixed);
  CHECK(f.spread(50) == std::map<std::string, int>{{"four", 50}});
  CHECK(f.uid({"four"}) == "six");
  f.at_.ip = *Ip::parse("fd96::1");
  CHECK(f.spread(50) == std::map<std::string, int>{{"six", 50}});
  Fixture only(mixed, {}, Service::Families::kIpv6);
  CHECK(only.spread(50) == std::map<std::string, int>{{"six", 50}});
  Fixture none({mixed[1]}, {}, Service::Families::kIpv4);
  CHECK(none.pick().why.find("IP families") != std::string::npos);
}

TEST_CASE("past the maximum endpoints are chosen without being remembered") {
  std::vector<Workload> all;
  const size_t count = 3;
  for (size_t i = 0; i < count; i++) {
    all.push_back(endpoint("e" + std::to_string(i), "10.0.0." + std::to_string(i + 1)));
  }
  Fixture f(all);
  std::vector<Balancer::Pick> held;
  for (uint32_t port = 1; held.size() < kEndpointStatesMax; port++) {
    // Each port makes the same workload another endpoint.
    for (Workload& one : all) {
      one.services = {{kService, {{80, static_cast<uint16_t>(port)}}}};
    }
    Fixture next(all);
    f.tables_ = next.tables_;
    for (size_t i = 0; i < count && held.size() < kEndpointStatesMax; i++) {
      std::vector<std::string> others;
      for (const Workload& one : all) {
        if (one.uid != all[i].uid) {
          others.push_back(one.uid);
        }
      }
      held.push_back(f.pick(others));
    }
  }
  CHECK(f.balancer_.stateCount() == kEndpointStatesMax);
  Fixture fresh({endpoint("fresh", "10.0.1.1")});
  f.tables_ = fresh.tables_;
  Balancer::Pick past = f.pick();
  CHECK(Fixture::uidOf(past) == "fresh");
  CHECK(f.balancer_.stateOf("fresh", 8080) == nullptr);
  past.lease.failed(f.now_);
  held.clear();
  CHECK(f.balancer_.stateCount() == 0);
}

TEST_CASE("endpoints that failed long ago are forgotten when there are many") {
  Fixture f({endpoint("a", "10.0.0.1")});
  for (uint32_t port = 1; port <= 1024; port++) {
    Workload one = endpoint("a", "10.0.0.1");
    one.services = {{kService, {{80, static_cast<uint16_t>(port)}}}};
    f.tables_ = Fixture({one}).tables_;
    f.pick().lease.failed(f.now_);
  }
  CHECK(f.balancer_.stateCount() == 1024);
  f.now_ += kEjectWindowMs + kEjectMaxMs + 1;
  f.tables_ = Fixture({endpoint("b", "10.0.0.2")}).tables_;
  const Balancer::Pick chosen = f.pick();
  CHECK(f.balancer_.stateCount() == 1);
}

TEST_CASE("a service is prepared once for many connections, and anew when anything changed") {
  Fixture f({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")});
  const auto madeBy = [&](auto change) {
    f.spread(10);
    const uint64_t before = f.balancer_.plansMade();
    change();
    f.spread(10);
    return f.balancer_.plansMade() - before;
  };
  CHECK(madeBy([] {}) == 0);
  CHECK(madeBy([&] { f.source_.node = "n2"; }) == 1);
  CHECK(madeBy([&] { f.source_.locality.zone = "eu-2"; }) == 1);
  CHECK(madeBy([&] { f.at_.port = 81; }) == 1);
  CHECK(madeBy([&] { f.at_.port = 80; }) == 0);
  CHECK(madeBy([&] { f.now_ += 1'000'000; }) == 0);
  CHECK(madeBy([&] {
          f.tables_ = DeltaWriter().add(endpoint("c", "10.0.0.3")).applyTo(f.tables_).value();
        }) == 1);
  CHECK(f.spread(200).size() == 3);
  CHECK(madeBy([&] {
          Workload sick = endpoint("c", "10.0.0.3");
          sick.healthy = false;
          f.tables_ = DeltaWriter().add(sick).applyTo(f.tables_).value();
        }) == 1);
  CHECK(f.spread(200).size() == 2);
  CHECK(madeBy([&] {
          Service other = *f.service_;
          other.loadBalancing.allowUnhealthy = true;
          f.tables_ = DeltaWriter().add(other).applyTo(f.tables_).value();
          f.service_ = f.tables_->serviceByKey(kService);
        }) == 1);
  CHECK(f.spread(200).size() == 3);
  CHECK(madeBy([&] { f.failConnects("a", 3); }) == 1);
  CHECK(f.spread(200).size() == 2);
  CHECK(madeBy([&] { f.now_ += kEjectMs; }) == 1);
  CHECK(f.spread(200).size() == 3);
}

TEST_CASE("an endpoint that takes a connection after all is not left out any longer") {
  Fixture f({endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")});
  Lease early = f.pick({"b"}).lease;
  for (uint32_t i = 0; i < kEjectFailures; i++) {
    f.pick({"b"}).lease.failed(f.now_);
  }
  CHECK(f.balancer_.stateOf("a", 8080)->ejectedUntilMs > f.now_);
  early.succeeded();
  early = Lease();
  CHECK(f.spread(50).size() == 2);
}

TEST_CASE("what is prepared has a greatest number, of services and of endpoints") {
  Fixture f({endpoint("a", "10.0.0.1")});
  for (uint32_t port = 1; port <= kPlansMax; port++) {
    f.at_.port = static_cast<uint16_t>(port);
    f.uid();
  }
  CHECK(f.balancer_.planCount() == kPlansMax);
  f.at_.port++;
  f.uid();
  CHECK(f.balancer_.planCount() == 1);
  std::vector<Workload> half;
  for (size_t i = 0; i < kPlanEndpointsMax / 2; i++) {
    half.push_back(endpoint("e" + std::to_string(i), "10.0.0.1"));
    half.back().addresses[0].bytes[13] = static_cast<uint8_t>(i >> 8);
    half.back().addresses[0].bytes[14] = static_cast<uint8_t>(i);
  }
  Fixture many(half);
  many.uid();
  many.source_.addresses = {*Ip::parse("fd00::1")};
  many.at_.ip = *Ip::parse("fd96::1");
  many.uid();
  CHECK(many.balancer_.planCount() == 2);
  many.tables_ = DeltaWriter().add(endpoint("more", "10.9.0.1")).applyTo(many.tables_).value();
  many.uid();
  CHECK(many.balancer_.planCount() == 1);
}

TEST_CASE("random numbers differ by seed and stay below their bound") {
  Random a(2);
  Random b(4);
  CHECK(a.next() != b.next());
  std::set<size_t> seen;
  for (int i = 0; i < 200; i++) {
    seen.insert(a.below(5));
  }
  CHECK(seen == std::set<size_t>{0, 1, 2, 3, 4});
}

}  // namespace
}  // namespace weft::proxy
