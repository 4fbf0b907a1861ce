// SPDX-License-Identifier: Apache-2.0
#include "proxy/direct_policy.h"

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "delta_writer.h"
#include "naive_policy.h"

namespace weft::proxy {
namespace {

constexpr uint32_t kFirstSeed = 20261;
constexpr uint32_t kWorlds = 3000;
/// Where a pod's programs are when it has this place among the pods of its world.
constexpr uint64_t kFirstNetns = 1000;

using Rows = std::vector<io::DirectVerdict>;

/// What the kernel does with these rows: the port's own, else that of every other port; none, or
/// one that has expired, leaves it to the proxy.
std::optional<bool> kernelSays(const Rows& rows, uint64_t source, uint16_t port) {
  const auto row = [&](uint16_t wanted) -> const io::DirectVerdict* {
    for (const io::DirectVerdict& each : rows) {
      if (each.source == source && each.port == wanted) {
        return &each;
      }
    }
    return nullptr;
  };
  const io::DirectVerdict* found = row(port) != nullptr ? row(port) : row(0);
  return found == nullptr || found->expiresNs == 0 ? std::nullopt : std::optional(found->allowed);
}

/// A table of the kernel has room for one row of a key, and the last one would count.
bool eachKeyOnce(const Rows& rows) {
  std::set<std::pair<uint64_t, uint16_t>> keys;
  for (const io::DirectVerdict& row : rows) {
    keys.emplace(row.source, row.port);
  }
  return keys.size() == rows.size();
}

LocalPod podOf(const Workload& workload, uint64_t netns) {
  return {"pod-" + workload.uid, workload.uid, workload.spiffeId(), netns, netns * 10};
}

/// How often each kind of answer came, so that a draw that says little is noticed.
struct Seen {
  size_t allowed = 0;
  size_t denied = 0;
  size_t left = 0;     ///< To the proxy, though no two addresses differ at that port.
  size_t differs = 0;  ///< Addresses that differ.
  size_t byPort = 0;   ///< Pairs for which ports differ.
};

/// A random mesh of three pods, with policies of all scopes.
class World {
 public:
  explicit World(uint32_t seed) : maker_(seed) {
    DeltaWriter delta;
    for (size_t i = 0; i < 3; i++) {
      workloads_.push_back(workload(i));
    }
    for (size_t count = maker_.below(9); count > 0; count--) {
      delta.add(policy("p" + std::to_string(count)));
    }
    if (maker_.below(12) == 0) {
      workloads_[0].policies.push_back("n0/not-known");
    }
    for (const Workload& each : workloads_) {
      delta.add(each);
    }
    if (maker_.below(20) != 0) {
      delta.policiesReceived();
    }
    tables_ = delta.applyTo(Tables::empty()).value();
    for (const uint16_t named : named_) {
      for (int port = named - 2; port <= named + 2; port++) {
        addPort(port);
      }
    }
    for (int i = 0; i < 16; i++) {
      addPort(static_cast<int>(maker_.below(65536)));
    }
    for (const int port : {1, 2, 1024, 32768, 65534, 65535}) {
      addPort(port);
    }
  }

  void check(Seen& seen) const {
    std::vector<LocalPod> pods;
    for (size_t i = 0; i < workloads_.size(); i++) {
      pods.push_back(podOf(workloads_[i], kFirstNetns + i));
    }
    const Rows rows = directVerdicts(*tables_, pods[0], pods);
    REQUIRE(eachKeyOnce(rows));
    for (size_t i = 1; i < pods.size(); i++) {
      std::set<bool> answers;
      for (const uint16_t port : ports_) {
        CAPTURE(port);
        checkPort(workloads_[i], port, kernelSays(rows, pods[i].netns, port), answers, seen);
      }
      seen.byPort += answers.size() == 2 ? 1 : 0;
    }
  }

 private:
  void addPort(int port) {
    if (port > 0 && port <= 65535) {
      ports_.insert(static_cast<uint16_t>(port));
    }
  }

  Workload workload(size_t place) {
    Workload made;
    made.uid = "w" + std::to_string(place);
    made.namespaceName = place == 0 ? "n0" : maker_.space();
    made.serviceAccount = maker_.account();
    made.trustDomain = "td";
    made.hbone = true;
    std::set<Ip> addresses;
    for (size_t count = 1 + maker_.below(3); count > 0; count--) {
      Ip ip = maker_.ip();
      ip.bytes[14] = static_cast<uint8_t>(ip.bytes[14] + place * 8);  // nobody else's
      addresses.insert(ip);
    }
    made.addresses = {addresses.begin(), addresses.end()};
    return made;
  }

  Policy policy(const std::string& key) {
    Policy made = maker_.policy(key, maker_.below(4) == 0 ? "n1" : "n0");
    for (PolicyRule& rule : made.rules) {
      for (PolicyClause& clause : rule.clauses) {
        for (PolicyMatch& match : clause.matches) {
          spread(match.destinationPorts);
          spread(match.notDestinationPorts);
        }
      }
    }
    if (made.scope == PolicyScope::kWorkload && maker_.below(3) != 0) {
      workloads_[0].policies.push_back(key);
    }
    return made;
  }

  /// Over all that there are, the first and the last among them.
  void spread(std::vector<uint16_t>& ports) {
    constexpr uint16_t kSome[] = {1, 2, 3, 80, 81, 8080, 15008, 65534, 65535};
    for (uint16_t& port : ports) {
      port = kSome[maker_.below(std::size(kSome))];
      named_.insert(port);
    }
  }

  void checkPort(const Workload& source, uint16_t port, std::optional<bool> kernel,
                 std::set<bool>& answers, Seen& seen) const {
    const std::string id = source.spiffeId();
    std::set<bool> said;
    for (const Ip& from : source.addresses) {
      for (const Ip& to : workloads_[0].addresses) {
        if (from.isV4() == to.isV4()) {
          CAPTURE(from.toString());
          CAPTURE(to.toString());
          const bool allowed = tables_->authorize(workloads_[0], {id, from, to, port}).allowed;
          REQUIRE(kernel.value_or(allowed) == allowed);
          said.insert(allowed);
        }
      }
    }
    answers.insert(said.begin(), said.end());
    if (said.size() == 2) {
      REQUIRE_FALSE(kernel.has_value());
      seen.differs++;
    } else if (kernel.has_value()) {
      (*kernel ? seen.allowed : seen.denied)++;
    } else {
      seen.left += said.size();
    }
  }

  PolicyMaker maker_;
  std::vector<Workload> workloads_;
  std::set<uint16_t> named_;
  std::set<uint16_t> ports_;
  std::shared_ptr<const Tables> tables_;
};

TEST_CASE("the kernel never decides otherwise than authorize(), in random worlds") {
  MESSAGE("seeds " << kFirstSeed << " to " << kFirstSeed + kWorlds - 1);
  Seen seen;
  for (uint32_t seed = kFirstSeed; seed < kFirstSeed + kWorlds; seed++) {
    CAPTURE(seed);
    World(seed).check(seen);
  }
  CAPTURE(seen.allowed);
  CAPTURE(seen.denied);
  CAPTURE(seen.left);
  CAPTURE(seen.differs);
  CAPTURE(seen.byPort);
  // The draw is of use only while all answers come often; and what addresses do not tell apart is
  // seldom left to the proxy.
  CHECK(seen.allowed > 20'000);
  CHECK(seen.denied > 20'000);
  CHECK(seen.differs > 2'000);
  CHECK(seen.byPort > 300);
  CHECK(seen.left < (seen.allowed + seen.denied) / 10);
}

/// Two pods that may reach each other, and what a case changes of them.
struct Two {
  Workload source = workload("source", "10.0.0.1");
  Workload destination = workload("destination", "10.0.0.2");
  LocalPod from = podOf(source, 1);
  LocalPod to = podOf(destination, 2);
  std::vector<Policy> policies;
  std::vector<Service> services;

  static Workload workload(const std::string& name, const char* ip) {
    Workload made;
    made.uid = name;
    made.namespaceName = "shop";
    made.serviceAccount = name;
    made.trustDomain = "td";
    made.addresses = {*Ip::parse(ip)};
    made.hbone = true;
    return made;
  }
  Rows rows() const {
    DeltaWriter delta;
    delta.add(destination).add(source).policiesReceived();
    for (const Policy& each : policies) {
      delta.add(each);
    }
    for (const Service& each : services) {
      delta.add(each);
    }
    return directVerdicts(*delta.applyTo(Tables::empty()).value(), to, {from, to});
  }
};

Policy deny(PolicyMatch match) {
  Policy made;
  made.key = "shop/deny";
  made.namespaceName = "shop";
  made.action = PolicyAction::kDeny;
  made.rules = {{{{{std::move(match)}}}}};
  return made;
}

TEST_CASE("one row says it for all ports, until the first of both certificates expires") {
  Two two;
  Rows rows = two.rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].source == 1);
  CHECK(rows[0].port == 0);
  CHECK(rows[0].allowed);
  CHECK(rows[0].expiresNs == 10);
  std::swap(two.from.expiresNs, two.to.expiresNs);
  CHECK(two.rows().at(0).expiresNs == 10);
}

TEST_CASE("a port has a row of its own only where it is another answer than elsewhere") {
  Two two;
  PolicyMatch match;
  match.destinationPorts = {1, 8080};
  Policy policy = deny(match);
  policy.rules.push_back(policy.rules[0]);
  policy.rules[1].clauses[0].matches[0].destinationPorts = {9090};
  PolicyMatch somebodyElse;
  somebodyElse.principals = {{StringMatch::Kind::kExact, "td/ns/shop/sa/other"}};
  policy.rules[1].clauses.push_back({{somebodyElse}});
  two.policies = {policy};
  const Rows rows = two.rows();
  REQUIRE(rows.size() == 3);
  CHECK(kernelSays(rows, 1, 1) == false);
  CHECK(kernelSays(rows, 1, 8080) == false);
  CHECK(kernelSays(rows, 1, 9090) == true);
}

TEST_CASE("where a pod's addresses differ only the ports in question are left to the proxy") {
  Two two;
  two.source.addresses = {*Ip::parse("10.0.0.1"), *Ip::parse("fd00::1")};
  two.destination.addresses = {*Ip::parse("10.0.0.2"), *Ip::parse("fd00::2")};
  PolicyMatch match;
  match.sourceIps = {{*Ip::parse("fd00::"), 8}};
  SUBCASE("one port") {
    match.destinationPorts = {8080};
    two.policies = {deny(match)};
    const Rows rows = two.rows();
    CHECK(eachKeyOnce(rows));
    CHECK_FALSE(kernelSays(rows, 1, 8080).has_value());
    CHECK(kernelSays(rows, 1, 8081) == true);
  }
  SUBCASE("all ports") {
    two.policies = {deny(match)};
    CHECK(two.rows().empty());
  }
}

TEST_CASE("every port may be named") {
  Two two;
  // In so many policies that they are found by an index.
  constexpr size_t kPolicies = 32;
  std::vector<PolicyMatch> parts(kPolicies);
  for (size_t port = 1; port <= 65535; port++) {
    parts[port % kPolicies].destinationPorts.push_back(static_cast<uint16_t>(port));
  }
  for (const PolicyMatch& part : parts) {
    two.policies.push_back(deny(part));
    two.policies.back().key += std::to_string(two.policies.size());
  }
  const Rows rows = two.rows();
  CHECK(eachKeyOnce(rows));
  for (const uint16_t port : {1, 80, 65535}) {
    CHECK(kernelSays(rows, 1, port) == false);
  }
}

TEST_CASE("what is reached in another way than by a tunnel, or is not who it seems, has no rows") {
  using Change = std::function<void(Two&)>;
  const auto serviceAt = [](Two& two, bool waypoint) {
    Service made;
    made.key = "shop/service";
    made.namespaceName = "shop";
    made.addresses = {vip("10.0.0.2")};
    made.waypoint = waypoint;
    two.services = {made};
  };
  const std::map<std::string, Change> changes{
      {"the source has no certificate", [](Two& two) { two.from.expiresNs = 0; }},
      {"the destination has none", [](Two& two) { two.to.expiresNs = 0; }},
      {"the source has another identity in the tables",
       [](Two& two) { two.source.serviceAccount = "other"; }},
      {"the destination has", [](Two& two) { two.destination.serviceAccount = "other"; }},
      {"the source is not in the tables", [](Two& two) { two.from.workloadUid = "nobody"; }},
      {"the destination is not", [](Two& two) { two.to.workloadUid = "nobody"; }},
      {"a waypoint stands before the destination",
       [](Two& two) { two.destination.waypoint = true; }},
      {"the destination is in its node's network",
       [](Two& two) { two.destination.hostNetwork = true; }},
      {"the destination is not enrolled", [](Two& two) { two.destination.hbone = false; }},
      {"the destination is in another network", [](Two& two) { two.destination.network = "far"; }},
      {"the pod itself", [](Two& two) { two.from.netns = two.to.netns; }},
      {"a service has the destination's address", [=](Two& two) { serviceAt(two, false); }},
      {"one with a waypoint has", [=](Two& two) { serviceAt(two, true); }},
      {"no family in common",
       [](Two& two) { two.destination.addresses = {*Ip::parse("fd00::2")}; }},
      {"no addresses", [](Two& two) { two.source.addresses.clear(); }},
      {"one of the addresses is somebody else's",
       [](Two& two) { two.destination.addresses.push_back(two.source.addresses[0]); }},
  };
  for (const auto& [name, change] : changes) {
    INFO(name);
    Two two;
    REQUIRE(two.rows().size() == 1);
    change(two);
    CHECK(two.rows().empty());
  }
}

}  // namespace
}  // namespace weft::proxy
