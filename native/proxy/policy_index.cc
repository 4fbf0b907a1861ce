// SPDX-License-Identifier: Apache-2.0
#include "proxy/policy_index.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

namespace weft::proxy {
namespace {

/// The field of a match by which it is found, the most telling first.
enum class Field { kPrincipals, kAccounts, kSources, kNamespaces, kPorts, kNone };

bool allExact(const std::vector<StringMatch>& entries) {
  return std::all_of(entries.begin(), entries.end(), [](const StringMatch& entry) {
    return entry.kind == StringMatch::Kind::kExact;
  });
}

bool anyPresence(const std::vector<StringMatch>& entries) {
  return std::any_of(entries.begin(), entries.end(), [](const StringMatch& entry) {
    return entry.kind == StringMatch::Kind::kPresence;
  });
}

Field fieldOf(const PolicyMatch& match) {
  if (!match.principals.empty() && !anyPresence(match.principals)) {
    return Field::kPrincipals;
  }
  if (!match.serviceAccounts.empty()) {
    return Field::kAccounts;
  }
  if (!match.sourceIps.empty()) {
    return Field::kSources;
  }
  if (!match.namespaces.empty() && allExact(match.namespaces)) {
    return Field::kNamespaces;
  }
  return match.destinationPorts.empty() ? Field::kNone : Field::kPorts;
}

/// The least telling field of a clause's matches: all of them have to be found. A clause without
/// matches always holds, and finds nothing.
Field fieldOf(const PolicyClause& clause) {
  Field worst = clause.matches.empty() ? Field::kNone : Field::kPrincipals;
  for (const PolicyMatch& match : clause.matches) {
    worst = std::max(worst, fieldOf(match));
  }
  return worst;
}

template <typename T>
void insertSorted(std::vector<T>& list, T value) {
  const auto at = std::lower_bound(list.begin(), list.end(), value);
  if (at == list.end() || *at != value) {
    list.insert(at, value);
  }
}

size_t rulesOf(const std::vector<std::shared_ptr<const Policy>>& policies) {
  size_t count = 0;
  for (const auto& policy : policies) {
    count += policy->rules.size();
  }
  return count;
}

}  // namespace

size_t PolicyIndex::TextKeyHash::operator()(const TextKey& key) const {
  const std::hash<std::string_view> hash;
  return hash(key.text) + (hash(key.more) ^ static_cast<size_t>(key.kind)) * 0x9e3779b97f4a7c15;
}

PolicyIndex::PolicyIndex(std::vector<std::shared_ptr<const Policy>> policies)
    : policies_(std::move(policies)) {
  const bool indexed = rulesOf(policies_) >= kIndexFromRules;
  for (uint32_t i = 0; i < policies_.size(); i++) {
    const Policy& policy = *policies_[i];
    hasAllow_ = hasAllow_ || policy.action == PolicyAction::kAllow;
    for (uint32_t j = 0; j < policy.rules.size(); j++) {
      if (indexed) {
        add({i, j}, policy.rules[j]);
      } else {
        rest_.push_back({i, j});
      }
    }
  }
}

/// All clauses of a rule have to hold, so it is enough to be found by one: the most telling.
void PolicyIndex::add(RuleRef ref, const PolicyRule& rule) {
  const auto best = std::min_element(
      rule.clauses.begin(), rule.clauses.end(),
      [](const PolicyClause& a, const PolicyClause& b) { return fieldOf(a) < fieldOf(b); });
  if (best == rule.clauses.end() || fieldOf(*best) == Field::kNone) {
    rest_.push_back(ref);
    return;
  }
  for (const PolicyMatch& match : best->matches) {
    addKeysOf(ref, match);
  }
}

void PolicyIndex::addKeysOf(RuleRef ref, const PolicyMatch& match) {
  switch (fieldOf(match)) {
    case Field::kPrincipals:
      for (const StringMatch& entry : match.principals) {
        Kind kind = Kind::kPrincipal;
        if (entry.kind == StringMatch::Kind::kPrefix) {
          kind = Kind::kPrefix;
          insertSorted(prefixLengths_, entry.text.size());
        } else if (entry.kind == StringMatch::Kind::kSuffix) {
          kind = Kind::kSuffix;
          insertSorted(suffixLengths_, entry.text.size());
        }
        texts_[{kind, entry.text, {}}].push_back(ref);
      }
      return;
    case Field::kAccounts:
      for (const ServiceAccountMatch& entry : match.serviceAccounts) {
        texts_[{Kind::kAccount, entry.namespaceName, entry.name}].push_back(ref);
      }
      return;
    case Field::kSources:
      for (const Cidr& entry : match.sourceIps) {
        insertSorted(entry.ip.isV4() ? v4Lengths_ : v6Lengths_, entry.length);
        sources_[rangeOf(entry.ip, entry.length)].push_back(ref);
      }
      return;
    case Field::kNamespaces:
      for (const StringMatch& entry : match.namespaces) {
        texts_[{Kind::kNamespace, entry.text, {}}].push_back(ref);
      }
      return;
    case Field::kPorts:
      for (const uint16_t port : match.destinationPorts) {
        ports_[port].push_back(ref);
      }
      return;
    case Field::kNone:
      return;
  }
}

template <typename Visit>
void PolicyIndex::forEachText(const PolicyClient& client, Visit visit) const {
  const auto look = [&](const TextKey& key) {
    const auto found = texts_.find(key);
    if (found != texts_.end()) {
      visit(found->second);
    }
  };
  look({Kind::kPrincipal, client.principal, {}});
  look({Kind::kNamespace, client.namespaceName, {}});
  look({Kind::kAccount, client.namespaceName, client.serviceAccount});
  const size_t whole = client.principal.size();
  for (const size_t length : prefixLengths_) {
    if (length <= whole) {
      look({Kind::kPrefix, client.principal.substr(0, length), {}});
    }
  }
  for (const size_t length : suffixLengths_) {
    if (length <= whole) {
      look({Kind::kSuffix, client.principal.substr(whole - length), {}});
    }
  }
}

/// Calls `visit` with lists of rules, in which a rule may occur more than once.
template <typename Visit>
void PolicyIndex::forEachCandidate(const PolicySubject& subject, const PolicyClient& client,
                                   Visit visit) const {
  visit(rest_);
  if (!texts_.empty()) {
    forEachText(client, visit);
  }
  for (const uint8_t length : subject.sourceIp.isV4() ? v4Lengths_ : v6Lengths_) {
    const auto found = sources_.find(rangeOf(subject.sourceIp, length));
    if (found != sources_.end()) {
      visit(found->second);
    }
  }
  if (const auto found = ports_.find(subject.destinationPort); found != ports_.end()) {
    visit(found->second);
  }
}

PolicyIndex::Hits PolicyIndex::decide(const PolicySubject& subject,
                                      const PolicyClient& client) const {
  std::optional<RuleRef> denied;
  std::optional<RuleRef> allowed;
  forEachCandidate(subject, client, [&](const RuleRefs& refs) {
    for (const RuleRef& ref : refs) {
      const Policy& policy = *policies_[ref.policy];
      std::optional<RuleRef>& best = policy.action == PolicyAction::kDeny ? denied : allowed;
      if ((!best.has_value() || ref < *best) && matches(policy.rules[ref.rule], subject, client)) {
        best = ref;
      }
    }
  });
  const auto hitOf = [&](const std::optional<RuleRef>& ref) {
    return ref.has_value() ? Hit{policies_[ref->policy].get(), ref->rule} : Hit{};
  };
  return {hitOf(denied), hitOf(allowed)};
}

size_t PolicyIndex::costOf(const PolicySubject& subject, const PolicyClient& client) const {
  size_t cost = 0;
  forEachCandidate(subject, client, [&](const RuleRefs& refs) { cost += refs.size(); });
  return cost;
}

}  // namespace weft::proxy
