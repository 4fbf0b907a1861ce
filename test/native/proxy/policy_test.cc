// SPDX-License-Identifier: Apache-2.0
#include "proxy/policy.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace weft::proxy {
namespace {

using Kind = StringMatch::Kind;

Ip ip(const char* text) {
  return *Ip::parse(text);
}

bool matches(const Policy& policy, const PolicySubject& subject) {
  const PolicyClient of = policyClientOf(subject.spiffeId);
  return std::any_of(policy.rules.begin(), policy.rules.end(),
                     [&](const PolicyRule& rule) { return proxy::matches(rule, subject, of); });
}

PolicySubject client(std::string_view spiffeId) {
  return {spiffeId, ip("10.1.2.3"), ip("10.9.0.1"), 8080};
}

const PolicySubject kAlice = client("spiffe://cluster.local/ns/shop/sa/alice");
const PolicySubject kNobody = client("");

Policy policyOf(std::vector<PolicyRule> rules) {
  Policy policy;
  policy.key = "shop/p";
  policy.namespaceName = "shop";
  policy.rules = std::move(rules);
  return policy;
}

Policy policyOf(PolicyMatch match) {
  return policyOf(std::vector<PolicyRule>{{{{{std::move(match)}}}}});
}

PolicyMatch principals(Kind kind, std::string text) {
  PolicyMatch match;
  match.principals = {{kind, std::move(text)}};
  return match;
}

PolicyMatch namespaces(Kind kind, std::string text) {
  PolicyMatch match;
  match.namespaces = {{kind, std::move(text)}};
  return match;
}

TEST_CASE("a policy without rules matches nothing") {
  CHECK_FALSE(matches(policyOf(std::vector<PolicyRule>{}), kAlice));
}

TEST_CASE("a rule without clauses matches everything, also a client without identity") {
  const Policy policy = policyOf(std::vector<PolicyRule>{{}});
  CHECK(matches(policy, kAlice));
  CHECK(matches(policy, kNobody));
}

TEST_CASE("a clause without matches holds") {
  CHECK(matches(policyOf(std::vector<PolicyRule>{{{PolicyClause{}}}}), kNobody));
}

TEST_CASE("a match with no field set never matches") {
  CHECK_FALSE(matches(policyOf(PolicyMatch{}), kAlice));
}

TEST_CASE("an empty match beside one that matches does not stop it") {
  const PolicyMatch yes = namespaces(Kind::kExact, "shop");
  CHECK(matches(policyOf(std::vector<PolicyRule>{{{{{PolicyMatch{}, yes}}}}}), kAlice));
}

TEST_CASE("rules are alternatives, clauses all have to hold, matches are alternatives") {
  const PolicyMatch yes = namespaces(Kind::kExact, "shop");
  const PolicyMatch no = namespaces(Kind::kExact, "bank");
  const PolicyClause holds = {{yes}};
  const PolicyClause fails = {{no}};
  CHECK(matches(policyOf(std::vector<PolicyRule>{{{fails}}, {{holds}}}), kAlice));
  CHECK_FALSE(matches(policyOf(std::vector<PolicyRule>{{{holds, fails}}}), kAlice));
  CHECK(matches(policyOf(std::vector<PolicyRule>{{{holds, holds}}}), kAlice));
  CHECK(matches(policyOf(std::vector<PolicyRule>{{{{{no, yes}}}}}), kAlice));
}

TEST_CASE("the fields of one match all have to hold") {
  PolicyMatch match = namespaces(Kind::kExact, "shop");
  match.destinationPorts = {8080};
  CHECK(matches(policyOf(match), kAlice));
  match.destinationPorts = {8081};
  CHECK_FALSE(matches(policyOf(match), kAlice));
}

TEST_CASE("a principal is compared without its spiffe://") {
  CHECK(matches(policyOf(principals(Kind::kExact, "cluster.local/ns/shop/sa/alice")), kAlice));
  CHECK_FALSE(matches(policyOf(principals(Kind::kExact, "spiffe://cluster.local/ns/shop/sa/alice")),
                      kAlice));
  CHECK(matches(policyOf(principals(Kind::kPrefix, "cluster.local/ns/shop/")), kAlice));
  CHECK_FALSE(matches(policyOf(principals(Kind::kPrefix, "cluster.local/ns/shopping")), kAlice));
  CHECK(matches(policyOf(principals(Kind::kSuffix, "/sa/alice")), kAlice));
  CHECK_FALSE(matches(policyOf(principals(Kind::kSuffix, "/sa/bob")), kAlice));
}

TEST_CASE("texts are compared byte by byte") {
  CHECK_FALSE(matches(policyOf(namespaces(Kind::kExact, "Shop")), kAlice));
  CHECK_FALSE(matches(policyOf(namespaces(Kind::kExact, "sho")), kAlice));
}

TEST_CASE("presence takes any identity, and its negation only the lack of one") {
  CHECK(matches(policyOf(principals(Kind::kPresence, "")), kAlice));
  CHECK_FALSE(matches(policyOf(principals(Kind::kPresence, "")), kNobody));
  PolicyMatch without;
  without.notPrincipals = {{Kind::kPresence, ""}};
  CHECK_FALSE(matches(policyOf(without), kAlice));
  CHECK(matches(policyOf(without), kNobody));
}

TEST_CASE("a client without identity has the empty principal and the empty namespace") {
  CHECK(matches(policyOf(principals(Kind::kExact, "")), kNobody));
  CHECK(matches(policyOf(namespaces(Kind::kExact, "")), kNobody));
  CHECK(matches(policyOf(principals(Kind::kPrefix, "")), kNobody));
  CHECK_FALSE(matches(policyOf(namespaces(Kind::kExact, "shop")), kNobody));
  PolicyMatch notShop;
  notShop.notNamespaces = {{Kind::kExact, "shop"}};
  CHECK(matches(policyOf(notShop), kNobody));
  CHECK_FALSE(matches(policyOf(notShop), kAlice));
}

TEST_CASE("a service account needs its namespace and its name, and an identity") {
  PolicyMatch match;
  match.serviceAccounts = {{"shop", "alice"}};
  CHECK(matches(policyOf(match), kAlice));
  CHECK_FALSE(matches(policyOf(match), client("spiffe://cluster.local/ns/bank/sa/alice")));
  CHECK_FALSE(matches(policyOf(match), client("spiffe://cluster.local/ns/shop/sa/bob")));
  CHECK_FALSE(matches(policyOf(match), kNobody));
  PolicyMatch empty;
  empty.serviceAccounts = {{"", ""}};
  CHECK_FALSE(matches(policyOf(empty), kNobody));
  PolicyMatch negated;
  negated.notServiceAccounts = {{"shop", "alice"}};
  CHECK_FALSE(matches(policyOf(negated), kAlice));
  CHECK(matches(policyOf(negated), kNobody));
}

TEST_CASE("only the path /ns/X/sa/Y gives a namespace and a service account") {
  const Policy shop = policyOf(namespaces(Kind::kExact, "shop"));
  for (const char* id :
       {"spiffe://td/ns/shop", "spiffe://td/ns/shop/sa", "spiffe://td/ns/shop/sa/",
        "spiffe://td/ns/shop/sa/a/b", "spiffe://td/x/ns/shop/sa/a", "spiffe://td/NS/shop/sa/a",
        "spiffe://td/ns/shop/SA/a", "spiffe://td/ns//sa/a", "spiffe://td", "spiffe://td/node/n1"}) {
    CAPTURE(id);
    CHECK_FALSE(matches(shop, client(id)));
    CHECK(matches(policyOf(principals(Kind::kPresence, "")), client(id)));
  }
  CHECK(matches(shop, client("spiffe://td/ns/shop/sa/a")));
}

TEST_CASE("blocks of addresses match by their length, and never across families") {
  const auto source = [](const char* base, uint8_t length, const char* from) {
    PolicyMatch match;
    match.sourceIps = {{ip(base), length}};
    PolicySubject subject = kNobody;
    subject.sourceIp = ip(from);
    return matches(policyOf(match), subject);
  };
  CHECK(source("10.1.0.0", 16, "10.1.255.255"));
  CHECK_FALSE(source("10.1.0.0", 16, "10.2.0.0"));
  CHECK(source("10.1.2.3", 32, "10.1.2.3"));
  CHECK_FALSE(source("10.1.2.3", 32, "10.1.2.2"));
  CHECK(source("10.1.2.2", 31, "10.1.2.3"));
  CHECK(source("0.0.0.0", 0, "203.0.113.9"));
  CHECK_FALSE(source("0.0.0.0", 0, "fd00::1"));
  CHECK_FALSE(source("::", 0, "10.1.2.3"));
  CHECK(source("::", 0, "fd00::1"));
  CHECK(source("fd00::", 127, "fd00::1"));
  CHECK_FALSE(source("fd00::", 128, "fd00::1"));
  CHECK(source("10.0.0.0", 8, "::ffff:10.1.2.3"));
}

TEST_CASE("source and destination addresses are not mixed up") {
  PolicyMatch match;
  match.destinationIps = {{ip("10.9.0.0"), 16}};
  CHECK(matches(policyOf(match), kAlice));
  match = {};
  match.sourceIps = {{ip("10.9.0.0"), 16}};
  CHECK_FALSE(matches(policyOf(match), kAlice));
  match = {};
  match.notDestinationIps = {{ip("10.9.0.0"), 16}};
  CHECK_FALSE(matches(policyOf(match), kAlice));
  match = {};
  match.notSourceIps = {{ip("10.9.0.0"), 16}};
  CHECK(matches(policyOf(match), kAlice));
}

TEST_CASE("a positive list takes any of its entries, a not-list none") {
  PolicyMatch match;
  match.destinationPorts = {1, 8080, 65535};
  CHECK(matches(policyOf(match), kAlice));
  match = {};
  match.notDestinationPorts = {1, 8080};
  CHECK_FALSE(matches(policyOf(match), kAlice));
  match.notDestinationPorts = {1, 2};
  CHECK(matches(policyOf(match), kAlice));
}

TEST_CASE("a field and its negation both have to hold") {
  PolicyMatch match;
  match.namespaces = {{Kind::kPresence, ""}};
  match.notNamespaces = {{Kind::kExact, "shop"}};
  CHECK_FALSE(matches(policyOf(match), kAlice));
  CHECK(matches(policyOf(match), client("spiffe://cluster.local/ns/bank/sa/alice")));
}

}  // namespace
}  // namespace weft::proxy
