// SPDX-License-Identifier: Apache-2.0
#include "proxy/tables.h"

#include <algorithm>
#include <set>
#include <utility>

#include "proxy/tables_decode.h"
#include "proxy/tables_state.h"

namespace weft::proxy {
namespace {

template <typename T>
std::shared_ptr<const T> valueOr(const std::shared_ptr<const T>* found) {
  return found == nullptr ? nullptr : *found;
}

/// How well a claim of `service` to `range` fits what `source` asks for; 0: not at all.
int fitOf(const Service& service, const Cidr& range, const Workload& source) {
  const bool own = service.namespaceName == source.namespaceName;
  const bool there = std::any_of(
      service.addresses.begin(), service.addresses.end(),
      [&](const Vip& vip) { return vip.range == range && vip.network == source.network; });
  if (!there || (service.ownNamespaceOnly && !own)) {
    return 0;
  }
  return 1 + (own ? 2 : 0) + (service.canonical ? 1 : 0);
}

/// The best of the claims to `range`, the newest of equals; null when none fits.
std::shared_ptr<const Service> bestOf(const Claims<Service>& claims, const Cidr& range,
                                      const Workload& source) {
  const std::shared_ptr<const Service>* best = nullptr;
  int bestFit = 0;
  for (const auto& service : claims) {
    const int fit = fitOf(*service, range, source);
    if (fit > 0 && fit >= bestFit) {
      best = &service;
      bestFit = fit;
    }
  }
  return valueOr(best);
}

/// Collects what groups of policies say of one connection. `denied` and `allowed` are the first of
/// their kind that match.
struct Decision {
  const PolicySubject& subject;
  const PolicyClient client = policyClientOf(subject.spiffeId);
  PolicyIndex::Hit denied = {};
  PolicyIndex::Hit allowed = {};
  bool anyAllow = false;

  void consider(const PolicyGroup* group) {
    if (group == nullptr || denied.policy != nullptr) {
      return;
    }
    const PolicyIndex::Hits hits = group->index.decide(subject, client);
    denied = hits.denied;
    anyAllow = anyAllow || group->index.hasAllow();
    allowed = allowed.policy == nullptr ? hits.allowed : allowed;
  }

  void consider(const Policy& policy) {
    if (policy.dryRun || denied.policy != nullptr) {
      return;
    }
    const bool deny = policy.action == PolicyAction::kDeny;
    anyAllow = anyAllow || !deny;
    PolicyIndex::Hit& hit = deny ? denied : allowed;
    for (size_t i = 0; hit.policy == nullptr && i < policy.rules.size(); i++) {
      if (matches(policy.rules[i], subject, client)) {
        hit = {&policy, i};
      }
    }
  }
};

Verdict verdictOf(bool isAllowed, const PolicyIndex::Hit& hit) {
  return {isAllowed, hit.policy->key, static_cast<int>(hit.rule),
          (isAllowed ? "allowed by policy " : "denied by policy ") + hit.policy->key};
}

}  // namespace

std::string Workload::spiffeId() const {
  return "spiffe://" + trustDomain + "/ns/" + namespaceName + "/sa/" + serviceAccount;
}

Tables::Tables(std::shared_ptr<const TablesState> state) : state_(std::move(state)) {}

std::shared_ptr<const Tables> Tables::empty() {
  return std::shared_ptr<const Tables>(new Tables(std::make_shared<const TablesState>()));
}

Result<std::shared_ptr<const Tables>> Tables::apply(const std::shared_ptr<const Tables>& base,
                                                    std::span<const uint8_t> delta) {
  auto decoded = decodeTablesDelta(delta);
  if (!decoded.ok()) {
    return decoded.status();
  }
  auto state = buildTablesState(*base->state_, std::move(decoded).value());
  if (!state.ok()) {
    return state.status();
  }
  return std::shared_ptr<const Tables>(new Tables(std::move(state).value()));
}

std::shared_ptr<const Workload> Tables::workloadByUid(std::string_view uid) const {
  return valueOr(state_->workloads.find(uid));
}

std::shared_ptr<const Workload> Tables::workloadByIp(const Ip& ip, std::string_view network) const {
  const auto* claims = state_->workloadIps.find(ip);
  if (claims == nullptr) {
    return nullptr;
  }
  const auto found = std::find_if(claims->rbegin(), claims->rend(), [&](const auto& workload) {
    return workload->network == network;
  });
  return found == claims->rend() ? nullptr : *found;
}

std::shared_ptr<const Service> Tables::serviceByVip(const Ip& ip, const Workload& source) const {
  const RangeLengths& lengths = state_->vipLengths;
  const std::span<const uint32_t> counts =
      ip.isV4() ? std::span<const uint32_t>(lengths.v4) : std::span<const uint32_t>(lengths.v6);
  for (size_t length = counts.size(); length-- > 0;) {
    if (counts[length] == 0) {
      continue;
    }
    const Cidr range = rangeOf(ip, static_cast<uint8_t>(length));
    if (const auto* claims = state_->vips.find(range)) {
      if (auto service = bestOf(*claims, range, source)) {
        return service;
      }
    }
  }
  return nullptr;
}

std::shared_ptr<const Service> Tables::serviceByKey(std::string_view key) const {
  return valueOr(state_->services.find(key));
}

std::span<const ServiceEndpoint> Tables::endpointsOf(std::string_view serviceKey) const {
  const auto* found = state_->endpoints.find(serviceKey);
  return found == nullptr ? std::span<const ServiceEndpoint>() : (*found)->endpoints;
}

std::shared_ptr<const EndpointList> Tables::endpointListOf(std::string_view serviceKey) const {
  return valueOr(state_->endpoints.find(serviceKey));
}

Verdict Tables::authorize(const Workload& destination, const PolicySubject& subject) const {
  Decision decision{subject};
  decision.consider(state_->globalPolicies.get());
  decision.consider(valueOr(state_->namespacePolicies.find(destination.namespaceName)).get());
  const std::string* unknown = nullptr;
  for (const std::string& key : destination.policies) {
    const auto* policy = state_->policies.find(key);
    if (policy != nullptr) {
      decision.consider(**policy);
    } else if (unknown == nullptr) {
      unknown = &key;
    }
  }
  if (decision.denied.policy != nullptr) {
    return verdictOf(false, decision.denied);
  }
  if (!state_->policiesReceived) {
    return {false, "", -1, "no policies were received from the control plane yet"};
  }
  if (unknown != nullptr) {
    return {false, *unknown, -1,
            "policy " + *unknown + " holds for the workload, but is not known"};
  }
  if (!decision.anyAllow) {
    return {true, "", -1, "no allow policy holds for the workload"};
  }
  if (decision.allowed.policy != nullptr) {
    return verdictOf(true, decision.allowed);
  }
  return {false, "", -1, "no allow policy matches"};
}

std::vector<uint16_t> Tables::policyPorts(const Workload& destination) const {
  std::set<uint16_t> ports;
  const auto note = [&](const Policy& policy) {
    for (const PolicyRule& rule : policy.rules) {
      for (const PolicyClause& clause : rule.clauses) {
        for (const PolicyMatch& match : clause.matches) {
          ports.insert(match.destinationPorts.begin(), match.destinationPorts.end());
          ports.insert(match.notDestinationPorts.begin(), match.notDestinationPorts.end());
        }
      }
    }
  };
  for (const auto& group : {state_->globalPolicies,
                            valueOr(state_->namespacePolicies.find(destination.namespaceName))}) {
    if (group != nullptr) {
      for (const auto& policy : group->index.policies()) {
        note(*policy);
      }
    }
  }
  for (const std::string& key : destination.policies) {
    if (const auto* policy = state_->policies.find(key); policy != nullptr) {
      note(**policy);
    }
  }
  return {ports.begin(), ports.end()};
}

bool Tables::policiesReceived() const {
  return state_->policiesReceived;
}
size_t Tables::workloadCount() const {
  return state_->workloads.size();
}
size_t Tables::serviceCount() const {
  return state_->services.size();
}
size_t Tables::policyCount() const {
  return state_->policies.size();
}
uint64_t Tables::policyEpoch() const {
  return state_->policyEpoch;
}
uint64_t Tables::routeEpoch() const {
  return state_->routeEpoch;
}

Tables::Sharing Tables::sharingWith(const Tables& other) const {
  Sharing sharing;
  const auto count = [&](const auto& mine, const auto& theirs) {
    sharing.parts += mine.shardCount();
    sharing.shared += mine.sharedWith(theirs);
  };
  const TablesState& a = *state_;
  const TablesState& b = *other.state_;
  count(a.workloads, b.workloads);
  count(a.workloadIps, b.workloadIps);
  count(a.services, b.services);
  count(a.vips, b.vips);
  count(a.endpoints, b.endpoints);
  count(a.policies, b.policies);
  count(a.namespacePolicies, b.namespacePolicies);
  return sharing;
}

}  // namespace weft::proxy
