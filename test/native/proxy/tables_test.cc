// SPDX-License-Identifier: Apache-2.0
#include "proxy/tables.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "delta_writer.h"
#include "naive_policy.h"

namespace weft::proxy {
namespace {

using TablesPtr = std::shared_ptr<const Tables>;

Policy policy(std::string key, PolicyAction action, bool matching,
              PolicyScope scope = PolicyScope::kNamespace) {
  Policy policy;
  policy.key = std::move(key);
  policy.namespaceName = policy.key.substr(0, policy.key.find('/'));
  policy.scope = scope;
  policy.action = action;
  if (matching) {
    policy.rules.resize(1);  // A rule without clauses matches everything.
  }
  return policy;
}

Policy allow(std::string key, bool matching, PolicyScope scope = PolicyScope::kNamespace) {
  return policy(std::move(key), PolicyAction::kAllow, matching, scope);
}

Policy deny(std::string key, bool matching, PolicyScope scope = PolicyScope::kNamespace) {
  return policy(std::move(key), PolicyAction::kDeny, matching, scope);
}

Policy dryRun(Policy policy) {
  policy.dryRun = true;
  return policy;
}

TablesPtr mustApply(const TablesPtr& base, const DeltaWriter& delta) {
  auto result = delta.applyTo(base);
  REQUIRE_MESSAGE(result.ok(), result.status().message());
  return std::move(result).value();
}

/// What a workload in "shop" that names `named` decides under these policies.
Verdict decide(const std::vector<Policy>& policies, std::vector<std::string> named = {},
               bool received = true) {
  DeltaWriter delta;
  for (const Policy& one : policies) {
    delta.add(one);
  }
  if (received) {
    delta.policiesReceived();
  }
  Workload destination;
  destination.uid = "w";
  destination.namespaceName = "shop";
  destination.policies = std::move(named);
  return mustApply(Tables::empty(), delta)->authorize(destination, PolicySubject());
}

TEST_CASE("before policies were received every connection is refused") {
  CHECK_FALSE(decide({}, {}, false).allowed);
  CHECK_FALSE(decide({allow("shop/a", true)}, {}, false).allowed);
  CHECK_FALSE(Tables::empty()->authorize(Workload(), PolicySubject()).allowed);
}

TEST_CASE("without policies the connection is allowed, and none decided") {
  const Verdict verdict = decide({});
  CHECK(verdict.allowed);
  CHECK(verdict.policy.empty());
  CHECK_FALSE(verdict.reason.empty());
}

TEST_CASE("with allow policies one has to match") {
  CHECK(decide({allow("shop/a", true)}).policy == "shop/a");
  CHECK(decide({allow("shop/a", true)}).allowed);
  const Verdict refused = decide({allow("shop/a", false)});
  CHECK_FALSE(refused.allowed);
  CHECK(refused.policy.empty());
  CHECK(decide({allow("shop/a", false), allow("shop/b", true)}).policy == "shop/b");
}

TEST_CASE("a deny that matches wins over any allow; one that does not has no effect") {
  const Verdict refused = decide({allow("shop/a", true), deny("shop/z", true)});
  CHECK_FALSE(refused.allowed);
  CHECK(refused.policy == "shop/z");
  CHECK(decide({deny("shop/z", false)}).allowed);
  CHECK(decide({deny("shop/z", false), allow("shop/a", true)}).allowed);
  CHECK_FALSE(decide({deny("shop/z", false), allow("shop/a", false)}).allowed);
}

TEST_CASE("policies of a namespace hold for its workloads only, global ones for all") {
  CHECK(decide({deny("bank/d", true)}).allowed);
  CHECK(decide({allow("bank/a", false)}).allowed);
  CHECK_FALSE(decide({deny("shop/d", true)}).allowed);
  CHECK_FALSE(decide({deny("root/d", true, PolicyScope::kGlobal)}).allowed);
  CHECK_FALSE(decide({allow("root/a", false, PolicyScope::kGlobal)}).allowed);
  CHECK(decide({allow("root/a", true, PolicyScope::kGlobal), allow("shop/a", false)}).allowed);
}

TEST_CASE("a workload's policy holds only where it is named, from whichever namespace") {
  const std::vector<Policy> policies = {deny("shop/d", true, PolicyScope::kWorkload),
                                        deny("root/d", true, PolicyScope::kWorkload)};
  CHECK(decide(policies).allowed);
  CHECK_FALSE(decide(policies, {"shop/d"}).allowed);
  CHECK(decide(policies, {"root/d"}).policy == "root/d");
}

TEST_CASE("a named policy that is not known refuses, and is named") {
  const Verdict refused = decide({allow("shop/a", true)}, {"shop/missing"});
  CHECK_FALSE(refused.allowed);
  CHECK(refused.policy == "shop/missing");
  CHECK_FALSE(decide({}, {"shop/missing"}).allowed);
}

TEST_CASE("a deny that matches is what is told, also beside an unknown policy") {
  CHECK(decide({deny("shop/d", true)}, {"shop/missing"}).policy == "shop/d");
  CHECK(decide({deny("shop/d", true)}, {}, false).policy == "shop/d");
}

TEST_CASE("a dry-run policy never counts, be it indexed or named") {
  for (const PolicyScope scope :
       {PolicyScope::kGlobal, PolicyScope::kNamespace, PolicyScope::kWorkload}) {
    const std::vector<std::string> named = {"shop/p"};
    CHECK(decide({dryRun(deny("shop/p", true, scope))}, named).allowed);
    CHECK(decide({dryRun(allow("shop/p", false, scope))}, named).allowed);
    CHECK_FALSE(
        decide({dryRun(allow("shop/p", true, scope)), allow("shop/a", false)}, named).allowed);
  }
}

TEST_CASE("of several that match the first by key is told") {
  CHECK(decide({deny("shop/b", true), deny("shop/a", true)}).policy == "shop/a");
  CHECK(decide({allow("shop/b", true), allow("shop/a", true)}).policy == "shop/a");
}

TEST_CASE("a policy that moves between scopes and namespaces holds only where it is now") {
  Workload destination;
  destination.namespaceName = "shop";
  TablesPtr tables = Tables::empty();
  const auto allowedWith = [&](const Policy& changed) {
    DeltaWriter delta;
    delta.add(changed).policiesReceived();
    tables = mustApply(tables, delta);
    return tables->authorize(destination, PolicySubject()).allowed;
  };
  Policy moving = deny("shop/d", true);
  CHECK_FALSE(allowedWith(moving));
  moving.namespaceName = "bank";
  CHECK(allowedWith(moving));
  moving.scope = PolicyScope::kGlobal;
  CHECK_FALSE(allowedWith(moving));
  moving.scope = PolicyScope::kWorkload;
  CHECK(allowedWith(moving));
  moving.scope = PolicyScope::kNamespace;
  moving.namespaceName = "shop";
  CHECK_FALSE(allowedWith(moving));
  CHECK(allowedWith(dryRun(moving)));
  CHECK_FALSE(allowedWith(moving));
  DeltaWriter removal;
  removal.removePolicy("shop/d");
  tables = mustApply(tables, removal);
  CHECK(tables->authorize(destination, PolicySubject()).allowed);
  CHECK(tables->policyCount() == 0);
}

TEST_CASE("a workload may name a policy in the same delta that brings it") {
  Workload destination;
  destination.uid = "w";
  destination.namespaceName = "shop";
  destination.policies = {"shop/p"};
  DeltaWriter delta;
  delta.add(destination).add(allow("shop/p", true, PolicyScope::kWorkload)).policiesReceived();
  const TablesPtr tables = mustApply(Tables::empty(), delta);
  CHECK(tables->authorize(*tables->workloadByUid("w"), PolicySubject()).allowed);
}

TEST_CASE("random policies, delta upon delta, decide as a naive evaluator does") {
  PolicyMaker maker(4711);
  naive::Policies all;
  TablesPtr tables = Tables::empty();
  size_t allowed = 0;
  for (int step = 0; step < 1000; step++) {
    DeltaWriter delta;
    delta.policiesReceived();
    const std::string key = "p" + std::to_string(maker.below(40));
    if (maker.below(3) == 0) {
      all.erase(key);
      delta.removePolicy(key);
    } else {
      all[key] = maker.policy(key, maker.space());
      delta.add(all[key]);
    }
    tables = mustApply(tables, delta);
    REQUIRE(tables->policyCount() == all.size());
    for (int check = 0; check < 10; check++) {
      Workload destination;
      destination.namespaceName = maker.space();
      if (maker.below(4) == 0) {
        destination.policies = {"p" + std::to_string(maker.below(40))};
      }
      const PolicySubject subject = maker.subject();
      const naive::Answer expected = naive::decide(all, destination, subject);
      const Verdict verdict = tables->authorize(destination, subject);
      allowed += expected.allowed ? 1 : 0;
      CAPTURE(step);
      REQUIRE(verdict.allowed == expected.allowed);
      REQUIRE(verdict.policy == expected.policy);
      REQUIRE(verdict.rule == expected.rule);
    }
  }
  // The draw is of use only while both answers come often.
  CHECK(allowed > 500);
  CHECK(allowed < 9'500);
}

Policy withPorts(Policy policy, std::vector<uint16_t> ports, std::vector<uint16_t> notPorts) {
  PolicyMatch match;
  match.destinationPorts = std::move(ports);
  match.notDestinationPorts = std::move(notPorts);
  policy.rules.resize(policy.rules.size() + 1);
  policy.rules.back().clauses.push_back({{match}});
  return policy;
}

TEST_CASE("the ports that policies name for a workload are told once each and in order") {
  constexpr PolicyScope kGlobal = PolicyScope::kGlobal;
  constexpr PolicyScope kWorkload = PolicyScope::kWorkload;
  DeltaWriter delta;
  delta.add(withPorts(allow("root/g", false, kGlobal), {443, 80}, {65535}));
  delta.add(withPorts(withPorts(deny("shop/n", false), {80, 8080}, {}), {}, {1, 443}));
  delta.add(withPorts(allow("shop/w", false, kWorkload), {9090}, {22}));
  delta.add(withPorts(allow("other/w", false, kWorkload), {7000, 80}, {}));
  // None of these holds for the workload.
  delta.add(withPorts(deny("other/n", false), {1001}, {1002}));
  delta.add(withPorts(deny("shop/unnamed", false, kWorkload), {1003}, {1004}));
  const TablesPtr tables = mustApply(Tables::empty(), delta);

  Workload destination;
  destination.namespaceName = "shop";
  destination.policies = {"shop/w", "shop/unknown", "other/w"};
  const std::vector<uint16_t> all{1, 22, 80, 443, 7000, 8080, 9090, 65535};
  CHECK(tables->policyPorts(destination) == all);

  destination.policies = {"shop/unknown"};
  CHECK(tables->policyPorts(destination) == std::vector<uint16_t>{1, 80, 443, 8080, 65535});
  destination.namespaceName = "empty";
  CHECK(tables->policyPorts(destination) == std::vector<uint16_t>{80, 443, 65535});
  CHECK(Tables::empty()->policyPorts(destination).empty());
}

}  // namespace
}  // namespace weft::proxy
