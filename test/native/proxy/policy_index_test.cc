// SPDX-License-Identifier: Apache-2.0
#include "proxy/policy_index.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "delta_writer.h"
#include "naive_policy.h"
#include "proxy/tables.h"

namespace weft::proxy {
namespace {

using Kind = StringMatch::Kind;

/// One random mesh: policies of all scopes, and a workload that some of them hold for.
void checkMesh(uint32_t seed, size_t& allowed) {
  PolicyMaker maker(seed);
  DeltaWriter delta;
  naive::Policies all;
  Workload destination;
  destination.uid = "w";
  destination.namespaceName = "n0";
  // From a handful of rules to many more than are indexed.
  const size_t count = 1 + maker.below(40);
  for (size_t i = 0; i < count; i++) {
    const std::string key = "p" + std::to_string(100 + i);
    Policy policy = maker.policy(key, maker.below(5) == 0 ? "n1" : "n0");
    if (policy.scope == PolicyScope::kWorkload && maker.below(2) == 0) {
      destination.policies.push_back(key);
    }
    delta.add(policy);
    all[key] = std::move(policy);
  }
  const auto tables = delta.policiesReceived().applyTo(Tables::empty()).value();
  for (int i = 0; i < 30; i++) {
    const PolicySubject subject = maker.subject();
    const naive::Answer expected = naive::decide(all, destination, subject);
    const Verdict verdict = tables->authorize(destination, subject);
    allowed += expected.allowed ? 1 : 0;
    CAPTURE(seed);
    CAPTURE(subject.spiffeId);
    REQUIRE(verdict.allowed == expected.allowed);
    REQUIRE(verdict.policy == expected.policy);
    REQUIRE(verdict.rule == expected.rule);
  }
}

TEST_CASE("the index answers as a naive evaluator does, on random policies") {
  size_t allowed = 0;
  for (uint32_t seed = 1; seed <= 400; seed++) {
    checkMesh(seed, allowed);
  }
  // The draw is of use only while both answers come often.
  CHECK(allowed > 1'000);
  CHECK(allowed < 11'000);
}

std::shared_ptr<const Policy> allowing(int number, PolicyMatch match) {
  auto policy = std::make_shared<Policy>();
  policy->key = "n/p" + std::to_string(1000000 + number);
  policy->namespaceName = "n";
  policy->rules = {{{{{std::move(match)}}}}};
  return policy;
}

/// What `count` policies cost a connection that has to do with one of them.
template <typename MatchOf>
size_t costOf(int count, MatchOf matchOf) {
  std::vector<std::shared_ptr<const Policy>> policies;
  for (int i = 0; i < count; i++) {
    policies.push_back(allowing(i, matchOf(i)));
  }
  const PolicyIndex index(std::move(policies));
  const PolicySubject subject{"spiffe://td/ns/n7/sa/s7", *Ip::parse("10.0.0.7"),
                              *Ip::parse("10.9.9.9"), 1007};
  const PolicyClient client = policyClientOf(subject.spiffeId);
  const PolicyIndex::Hits hits = index.decide(subject, client);
  REQUIRE(hits.allowed.policy != nullptr);
  CHECK(hits.allowed.policy->key == "n/p1000007");
  CHECK(hits.denied.policy == nullptr);
  return index.costOf(subject, client);
}

TEST_CASE("a connection costs what the policies about it cost, not what there are") {
  const auto checkFlat = [](auto matchOf) { CHECK(costOf(5000, matchOf) == 1); };
  const auto name = [](const char* kind, int i) { return kind + std::to_string(i); };
  checkFlat([&](int i) {
    PolicyMatch m;
    m.principals = {{Kind::kExact, "td/ns/" + name("n", i) + "/sa/" + name("s", i)}};
    m.destinationPorts = {1007};
    return m;
  });
  checkFlat([&](int i) {
    PolicyMatch m;
    m.principals = {{Kind::kPrefix, "td/ns/" + name("n", i) + "/"}};
    return m;
  });
  checkFlat([&](int i) {
    PolicyMatch m;
    m.principals = {{Kind::kSuffix, "/sa/" + name("s", i)}};
    return m;
  });
  checkFlat([&](int i) {
    PolicyMatch m;
    m.namespaces = {{Kind::kExact, name("n", i)}};
    return m;
  });
  checkFlat([&](int i) {
    PolicyMatch m;
    m.serviceAccounts = {{name("n", i), name("s", i)}};
    return m;
  });
  checkFlat([&](int i) {
    PolicyMatch m;
    m.sourceIps = {
        {*Ip::parse("10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256)), 32}};
    return m;
  });
  checkFlat([&](int i) {
    PolicyMatch m;
    m.destinationPorts = {static_cast<uint16_t>(1000 + i)};
    return m;
  });
}

TEST_CASE("a rule is found by its most telling clause, and by nothing when none tells") {
  PolicyMatch port;
  port.destinationPorts = {1007};
  PolicyMatch someone;
  someone.notPrincipals = {{Kind::kPresence, ""}};
  std::vector<std::shared_ptr<const Policy>> policies;
  for (int i = 0; i < 100; i++) {
    PolicyMatch who;
    who.principals = {{Kind::kExact, "td/ns/n/sa/s" + std::to_string(i)}};
    auto policy = std::make_shared<Policy>(*allowing(i, port));
    policy->rules[0].clauses.push_back({{who}});
    policies.push_back(policy);
  }
  // Found by nothing: "or" with a match that has no positive field.
  auto open = std::make_shared<Policy>(*allowing(100, port));
  open->rules[0].clauses[0].matches.push_back(someone);
  policies.push_back(open);
  const PolicyIndex index(policies);
  const PolicySubject subject{"spiffe://td/ns/n/sa/s7", {}, {}, 1007};
  CHECK(index.costOf(subject, policyClientOf(subject.spiffeId)) == 2);
  const PolicySubject nobody{"", {}, {}, 9};
  CHECK(index.decide(nobody, policyClientOf("")).allowed.policy->key == "n/p1000100");
}

TEST_CASE("few rules are not indexed, and one more is") {
  const auto cost = [](int count) {
    std::vector<std::shared_ptr<const Policy>> policies;
    for (int i = 0; i < count; i++) {
      PolicyMatch m;
      m.destinationPorts = {static_cast<uint16_t>(i + 1)};
      policies.push_back(allowing(i, m));
    }
    const PolicySubject subject{"", {}, {}, 1};
    return PolicyIndex(policies).costOf(subject, policyClientOf(""));
  };
  CHECK(cost(kIndexFromRules - 1) == kIndexFromRules - 1);
  CHECK(cost(kIndexFromRules) == 1);
}

}  // namespace
}  // namespace weft::proxy
