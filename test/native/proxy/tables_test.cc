// SPDX-License-Identifier: Apache-2.0
#include "proxy/tables.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "delta_writer.h"

namespace weft::proxy {
namespace {

using Kind = StringMatch::Kind;
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

// Random policies against a second evaluator, which keeps everything in one list and works on the
// values that were sent, in the words of the specification.

class Naive {
 public:
  std::vector<Policy> policies;

  bool allows(const Workload& destination, const PolicySubject& subject) const {
    bool someAllow = false;
    bool someAllowMatches = false;
    for (const std::string& key : destination.policies) {
      if (find(key) == nullptr) {
        return false;
      }
    }
    for (const Policy& policy : policies) {
      if (policy.dryRun || !concerns(policy, destination)) {
        continue;
      }
      const bool matched = matchesPolicy(policy, subject);
      if (policy.action == PolicyAction::kDeny && matched) {
        return false;
      }
      someAllow = someAllow || policy.action == PolicyAction::kAllow;
      someAllowMatches = someAllowMatches || (policy.action == PolicyAction::kAllow && matched);
    }
    return !someAllow || someAllowMatches;
  }

  const Policy* find(const std::string& key) const {
    for (const Policy& policy : policies) {
      if (policy.key == key) {
        return &policy;
      }
    }
    return nullptr;
  }

  static bool matchesPolicy(const Policy& policy, const PolicySubject& subject) {
    for (const PolicyRule& rule : policy.rules) {
      bool all = true;
      for (const PolicyClause& clause : rule.clauses) {
        bool any = clause.matches.empty();
        for (const PolicyMatch& match : clause.matches) {
          any = any || matchesOne(match, subject);
        }
        all = all && any;
      }
      if (all) {
        return true;
      }
    }
    return false;
  }

 private:
  static bool concerns(const Policy& policy, const Workload& destination) {
    for (const std::string& key : destination.policies) {
      if (key == policy.key) {
        return true;
      }
    }
    return policy.scope == PolicyScope::kGlobal ||
           (policy.scope == PolicyScope::kNamespace &&
            policy.namespaceName == destination.namespaceName);
  }

  static bool textAccepted(const StringMatch& match, const std::string& text) {
    const std::string& want = match.text;
    switch (match.kind) {
      case Kind::kExact:
        return want == text;
      case Kind::kPrefix:
        return text.rfind(want, 0) == 0;
      case Kind::kSuffix:
        return text.size() >= want.size() && text.substr(text.size() - want.size()) == want;
      default:
        return text != "";
    }
  }

  static bool blockHolds(const Cidr& block, const Ip& ip) {
    if (block.ip.isV4() != ip.isV4()) {
      return false;
    }
    const size_t skip = ip.isV4() ? 96 : 0;
    for (size_t bit = skip; bit < skip + block.length; bit++) {
      const auto bitOf = [&](const Ip& one) { return one.bytes[bit / 8] >> (7 - bit % 8) & 1; };
      if (bitOf(block.ip) != bitOf(ip)) {
        return false;
      }
    }
    return true;
  }

  static bool matchesOne(const PolicyMatch& match, const PolicySubject& subject) {
    std::string principal;
    std::string namespaceName;
    std::string account;
    if (!subject.spiffeId.empty()) {  // Only whole IDs with /ns/X/sa/Y are drawn.
      principal = subject.spiffeId.substr(9);
      const size_t ns = principal.find("/ns/") + 4;
      const size_t sa = principal.find("/sa/");
      namespaceName = principal.substr(ns, sa - ns);
      account = principal.substr(sa + 4);
    }
    size_t fields = 0;
    bool good = true;
    const auto field = [&](const auto& list, bool negated, auto accepted) {
      bool any = false;
      for (const auto& entry : list) {
        any = any || accepted(entry);
      }
      if (!list.empty()) {
        fields++;
        good = good && any != negated;
      }
    };
    const auto ofNamespace = [&](const StringMatch& e) { return textAccepted(e, namespaceName); };
    const auto ofPrincipal = [&](const StringMatch& e) { return textAccepted(e, principal); };
    const auto ofSource = [&](const Cidr& e) { return blockHolds(e, subject.sourceIp); };
    const auto ofDestination = [&](const Cidr& e) { return blockHolds(e, subject.destinationIp); };
    const auto ofPort = [&](uint16_t port) { return port == subject.destinationPort; };
    const auto ofAccount = [&](const ServiceAccountMatch& e) {
      return !account.empty() && e.namespaceName == namespaceName && e.name == account;
    };
    field(match.namespaces, false, ofNamespace);
    field(match.notNamespaces, true, ofNamespace);
    field(match.principals, false, ofPrincipal);
    field(match.notPrincipals, true, ofPrincipal);
    field(match.sourceIps, false, ofSource);
    field(match.notSourceIps, true, ofSource);
    field(match.destinationIps, false, ofDestination);
    field(match.notDestinationIps, true, ofDestination);
    field(match.destinationPorts, false, ofPort);
    field(match.notDestinationPorts, true, ofPort);
    field(match.serviceAccounts, false, ofAccount);
    field(match.notServiceAccounts, true, ofAccount);
    return fields > 0 && good;
  }
};

/// Draws from small alphabets, so that hits and misses both come often.
class Draw {
 public:
  explicit Draw(uint32_t seed) : random_(seed) {}

  size_t upTo(size_t max) { return std::uniform_int_distribution<size_t>(0, max)(random_); }
  bool oneIn(size_t count) { return upTo(count - 1) == 0; }
  std::string from(const std::vector<std::string>& choices) {
    return choices[upTo(choices.size() - 1)];
  }

  std::string namespaceName() { return from({"a", "ab", "b"}); }
  std::string key() { return namespaceName() + "/p" + std::to_string(upTo(5)); }
  std::string spiffeId() {
    return oneIn(4) ? "" : "spiffe://td/ns/" + namespaceName() + "/sa/" + from({"x", "xy", "y"});
  }
  Ip ip() { return *Ip::parse(from({"10.0.0.1", "10.0.0.2", "10.0.1.1", "fd00::1", "fd00::2"})); }
  PolicySubject subject(const std::string& id) {
    return {id, ip(), ip(), static_cast<uint16_t>(1 + upTo(2))};
  }

  Policy policy() {
    Policy policy;
    policy.key = key();
    policy.namespaceName = namespaceName();
    policy.scope = static_cast<PolicyScope>(upTo(2));
    policy.action = static_cast<PolicyAction>(upTo(1));
    policy.dryRun = oneIn(6);
    policy.rules.resize(upTo(2));
    for (PolicyRule& rule : policy.rules) {
      rule.clauses.resize(upTo(2));
      for (PolicyClause& clause : rule.clauses) {
        clause.matches.resize(upTo(2));
        for (PolicyMatch& drawn : clause.matches) {
          drawn = match();
        }
      }
    }
    return policy;
  }

 private:
  template <typename Entry, typename Make>
  void fill(std::vector<Entry>& list, Make make) {
    if (oneIn(5)) {
      list.resize(1 + upTo(1));
      for (Entry& entry : list) {
        entry = make();
      }
    }
  }

  StringMatch text(const std::vector<std::string>& choices) {
    const Kind kind = static_cast<Kind>(upTo(3));
    return {kind, kind == Kind::kPresence ? "" : from(choices)};
  }

  PolicyMatch match() {
    PolicyMatch match;
    const auto ns = [&] { return text({"a", "ab", "b", ""}); };
    const auto id = [&] { return text({"td/ns/a/sa/x", "td/ns/a", "y", "/sa/x", ""}); };
    const auto block = [&] {
      const Ip base = ip();
      const size_t bits = base.isV4() ? 32 : 128;
      return Cidr{base, static_cast<uint8_t>(oneIn(4) ? 0 : bits - upTo(9))};
    };
    const auto port = [&] { return static_cast<uint16_t>(1 + upTo(2)); };
    const auto account = [&] { return ServiceAccountMatch{namespaceName(), from({"x", "xy"})}; };
    fill(match.namespaces, ns);
    fill(match.notNamespaces, ns);
    fill(match.principals, id);
    fill(match.notPrincipals, id);
    fill(match.sourceIps, block);
    fill(match.notSourceIps, block);
    fill(match.destinationIps, block);
    fill(match.notDestinationIps, block);
    fill(match.destinationPorts, port);
    fill(match.notDestinationPorts, port);
    fill(match.serviceAccounts, account);
    fill(match.notServiceAccounts, account);
    return match;
  }

  std::mt19937 random_;
};

/// One random delta of policies, put into the list and given back encoded.
DeltaWriter drawDelta(Draw& draw, Naive& naive) {
  DeltaWriter delta;
  delta.policiesReceived();
  std::vector<std::string> used;
  for (size_t i = draw.upTo(3); i > 0; i--) {
    const Policy drawn = draw.policy();
    if (std::find(used.begin(), used.end(), drawn.key) != used.end()) {
      continue;
    }
    used.push_back(drawn.key);
    std::erase_if(naive.policies, [&](const Policy& old) { return old.key == drawn.key; });
    if (draw.oneIn(3)) {
      delta.removePolicy(drawn.key);
    } else {
      delta.add(drawn);
      naive.policies.push_back(drawn);
    }
  }
  return delta;
}

TEST_CASE("random policies, delta upon delta, decide as a naive evaluator does") {
  size_t allowed = 0;
  size_t refused = 0;
  for (uint32_t seed = 1; seed <= 40; seed++) {
    Draw draw(seed);
    Naive naive;
    TablesPtr tables = Tables::empty();
    for (int step = 0; step < 25; step++) {
      tables = mustApply(tables, drawDelta(draw, naive));
      REQUIRE(tables->policyCount() == naive.policies.size());
      for (int check = 0; check < 20; check++) {
        Workload destination;
        destination.namespaceName = draw.namespaceName();
        for (size_t i = draw.oneIn(2) ? 0 : draw.upTo(2); i > 0; i--) {
          destination.policies.push_back(draw.key());
        }
        const std::string id = draw.spiffeId();
        const PolicySubject subject = draw.subject(id);
        const bool expected = naive.allows(destination, subject);
        (expected ? allowed : refused)++;
        CAPTURE(seed);
        CAPTURE(step);
        REQUIRE(tables->authorize(destination, subject).allowed == expected);
      }
    }
  }
  // The draw is of use only while both answers come often.
  CHECK(allowed > 2'000);
  CHECK(refused > 2'000);
}

TEST_CASE("random policies match as a naive evaluator does") {
  Draw draw(4711);
  size_t matched = 0;
  for (int i = 0; i < 20'000; i++) {
    const Policy drawn = draw.policy();
    const std::string id = draw.spiffeId();
    const PolicySubject subject = draw.subject(id);
    const bool expected = Naive::matchesPolicy(drawn, subject);
    matched += expected ? 1 : 0;
    REQUIRE(matches(drawn, subject) == expected);
  }
  CHECK(matched > 2'000);
  CHECK(matched < 18'000);
}

}  // namespace
}  // namespace weft::proxy
