// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "proxy/tables.h"

namespace weft::proxy {

/// An evaluator of its own, written from the meaning of the fields and not from our code.
namespace naive {

using Kind = StringMatch::Kind;

struct Who {
  std::string principal, space, account;
};

inline Who whoIs(const std::string& id) {
  Who who;
  who.principal = id.rfind("spiffe://", 0) == 0 ? id.substr(9) : id;
  std::vector<std::string> parts(1);
  for (const char c : who.principal) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  if (parts.size() == 5 && parts[1] == "ns" && parts[3] == "sa" && !parts[2].empty() &&
      !parts[4].empty()) {
    who.space = parts[2];
    who.account = parts[4];
  }
  return who;
}

inline bool fits(const StringMatch& want, const std::string& have) {
  const std::string& text = want.text;
  if (want.kind == Kind::kExact) {
    return have == text;
  }
  if (want.kind == Kind::kPresence) {
    return !have.empty();
  }
  if (have.size() < text.size()) {
    return false;
  }
  return (want.kind == Kind::kPrefix ? have.substr(0, text.size())
                                     : have.substr(have.size() - text.size())) == text;
}

inline bool fits(const Cidr& want, const Ip& have) {
  if (want.ip.isV4() != have.isV4()) {
    return false;
  }
  const size_t from = have.isV4() ? 96 : 0;
  for (size_t bit = from; bit < from + want.length; bit++) {
    const auto at = [&](const Ip& ip) { return (ip.bytes[bit / 8] >> (7 - bit % 8)) & 1; };
    if (at(want.ip) != at(have)) {
      return false;
    }
  }
  return true;
}

inline bool fits(uint16_t want, uint16_t have) {
  return want == have;
}

inline bool fits(const ServiceAccountMatch& want, const Who& have) {
  return !have.account.empty() && want.namespaceName == have.space && want.name == have.account;
}

template <typename Entry, typename Value>
bool field(const std::vector<Entry>& any, const std::vector<Entry>& none, const Value& have,
           bool& set) {
  set = set || !any.empty() || !none.empty();
  bool hit = any.empty();
  for (const Entry& entry : any) {
    hit = hit || fits(entry, have);
  }
  for (const Entry& entry : none) {
    hit = hit && !fits(entry, have);
  }
  return hit;
}

inline bool holds(const PolicyMatch& m, const PolicySubject& s) {
  const Who who = whoIs(std::string(s.spiffeId));
  bool set = false;
  bool all = field(m.namespaces, m.notNamespaces, who.space, set);
  all = field(m.principals, m.notPrincipals, who.principal, set) && all;
  all = field(m.sourceIps, m.notSourceIps, s.sourceIp, set) && all;
  all = field(m.destinationIps, m.notDestinationIps, s.destinationIp, set) && all;
  all = field(m.destinationPorts, m.notDestinationPorts, s.destinationPort, set) && all;
  all = field(m.serviceAccounts, m.notServiceAccounts, who, set) && all;
  return set && all;
}

inline bool holds(const PolicyRule& rule, const PolicySubject& s) {
  for (const PolicyClause& clause : rule.clauses) {
    bool any = clause.matches.empty();
    for (const PolicyMatch& match : clause.matches) {
      any = any || holds(match, s);
    }
    if (!any) {
      return false;
    }
  }
  return true;
}

struct Answer {
  bool allowed = true;
  std::string policy;
  int rule = -1;
};

using Policies = std::map<std::string, Policy>;

/// The policies that hold for `destination`, in the order in which they are told of.
inline std::vector<const Policy*> policiesFor(const Policies& all, const Workload& destination) {
  std::vector<const Policy*> out;
  for (const PolicyScope scope : {PolicyScope::kGlobal, PolicyScope::kNamespace}) {
    for (const auto& [key, policy] : all) {
      if (policy.scope == scope &&
          (scope == PolicyScope::kGlobal || policy.namespaceName == destination.namespaceName)) {
        out.push_back(&policy);
      }
    }
  }
  for (const std::string& key : destination.policies) {
    if (all.count(key) == 1) {
      out.push_back(&all.at(key));
    }
  }
  return out;
}

inline Answer decide(const Policies& all, const Workload& destination,
                     const PolicySubject& subject) {
  Answer denied, allowed;
  bool anyAllow = false;
  for (const Policy* policy : policiesFor(all, destination)) {
    if (policy->dryRun) {
      continue;
    }
    Answer& answer = policy->action == PolicyAction::kDeny ? denied : allowed;
    anyAllow = anyAllow || policy->action == PolicyAction::kAllow;
    for (size_t i = 0; i < policy->rules.size() && answer.policy.empty(); i++) {
      if (holds(policy->rules[i], subject)) {
        answer = {policy->action == PolicyAction::kAllow, policy->key, static_cast<int>(i)};
      }
    }
  }
  if (!denied.policy.empty()) {
    return denied;
  }
  for (const std::string& key : destination.policies) {
    if (all.count(key) == 0) {
      return {false, key, -1};
    }
  }
  if (!allowed.policy.empty()) {
    return allowed;
  }
  return {!anyAllow, "", -1};
}

}  // namespace naive

/// Makes policies and clients of few values, so that they meet often.
class PolicyMaker {
 public:
  explicit PolicyMaker(uint32_t seed) : random_(seed) {}

  size_t below(size_t bound) { return random_() % bound; }

  std::string principal() {
    const std::string id = "td/ns/" + space() + "/sa/" + account();
    return below(12) == 0 ? "td/node/n1" : below(12) == 0 ? "" : id;
  }
  std::string space() { return "n" + std::to_string(below(4)); }
  std::string account() { return "s" + std::to_string(below(4)); }
  Ip ip() {
    const std::string last = std::to_string(below(4)) + "." + std::to_string(below(8));
    return below(3) == 0 ? *Ip::parse("fd00::" + std::to_string(below(8)))
                         : *Ip::parse("10.0." + last);
  }

  StringMatch text(std::string whole) {
    switch (below(6)) {
      case 0:
        return {StringMatch::Kind::kPresence, ""};
      case 1:
        return {StringMatch::Kind::kPrefix, whole.substr(0, below(whole.size() + 1))};
      case 2:
        return {StringMatch::Kind::kSuffix, whole.substr(below(whole.size() + 1))};
      default:
        return {StringMatch::Kind::kExact, std::move(whole)};
    }
  }

  PolicyMatch match() {
    PolicyMatch m;
    const auto maybe = [&](auto& list, auto make) {
      if (below(7) == 0) {
        for (size_t n = 1 + below(3); n > 0; n--) {
          list.push_back(make());
        }
      }
    };
    const auto texts = [&] { return text(space()); };
    const auto ids = [&] { return text(principal()); };
    const auto ranges = [&] {
      const Ip base = ip();
      return Cidr{base, static_cast<uint8_t>(below(base.isV4() ? 33 : 129))};
    };
    const auto ports = [&] { return static_cast<uint16_t>(80 + below(4)); };
    const auto accounts = [&] { return ServiceAccountMatch{space(), account()}; };
    maybe(m.namespaces, texts);
    maybe(m.notNamespaces, texts);
    maybe(m.principals, ids);
    maybe(m.notPrincipals, ids);
    maybe(m.sourceIps, ranges);
    maybe(m.notSourceIps, ranges);
    maybe(m.destinationIps, ranges);
    maybe(m.notDestinationIps, ranges);
    maybe(m.destinationPorts, ports);
    maybe(m.notDestinationPorts, ports);
    maybe(m.serviceAccounts, accounts);
    maybe(m.notServiceAccounts, accounts);
    return m;
  }

  Policy policy(std::string key, std::string space) {
    Policy p;
    p.key = std::move(key);
    p.namespaceName = std::move(space);
    p.scope = static_cast<PolicyScope>(below(3));
    p.action = below(2) == 0 ? PolicyAction::kDeny : PolicyAction::kAllow;
    p.dryRun = below(10) == 0;
    p.rules.resize(below(4));
    for (PolicyRule& rule : p.rules) {
      rule.clauses.resize(below(12) == 0 ? 0 : 1 + below(3));
      for (PolicyClause& clause : rule.clauses) {
        clause.matches.resize(below(12) == 0 ? 0 : 1 + below(3));
        for (PolicyMatch& one : clause.matches) {
          one = match();
        }
      }
    }
    return p;
  }

  PolicySubject subject() {
    const std::string id = principal();
    id_ = id.empty() ? "" : "spiffe://" + id;
    return {id_, ip(), ip(), static_cast<uint16_t>(80 + below(5))};
  }

 private:
  std::mt19937 random_;
  std::string id_;
};

}  // namespace weft::proxy
