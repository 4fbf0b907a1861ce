// SPDX-License-Identifier: Apache-2.0
#include "proxy/tables_state.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace weft::proxy {
namespace {

const std::string& keyOf(const Workload& workload) {
  return workload.uid;
}
const std::string& keyOf(const Service& service) {
  return service.key;
}

Status overLimit(const char* what, size_t max) {
  return {Code::kLimit, std::string(what) + ": more than " + std::to_string(max)};
}

/// Puts `added` among the claims to `key`: in its own old place, or last. False when they are full.
template <typename T, typename Editor, typename Key>
bool claim(Editor& editor, const Key& key, const std::shared_ptr<const T>& added) {
  const Claims<T>* old = editor.find(key);
  Claims<T> claims = old == nullptr ? Claims<T>() : *old;
  const auto own = std::find_if(claims.begin(), claims.end(),
                                [&](const auto& one) { return keyOf(*one) == keyOf(*added); });
  if (own != claims.end()) {
    *own = added;
  } else if (claims.size() >= kClaimsMax) {
    return false;
  } else {
    claims.push_back(added);
  }
  editor.set(key, std::move(claims));
  return true;
}

template <typename T, typename Editor, typename Key>
void unclaim(Editor& editor, const Key& key, const T& removed) {
  const Claims<T>* old = editor.find(key);
  if (old == nullptr) {
    return;
  }
  Claims<T> claims = *old;
  std::erase_if(claims, [&](const auto& one) { return keyOf(*one) == keyOf(removed); });
  if (claims.empty()) {
    editor.erase(key);
  } else {
    editor.set(key, std::move(claims));
  }
}

/// Moves the claims of one entry from what it was (or null) to what it is (or null).
template <typename T, typename Editor, typename Key>
bool moveClaims(Editor& editor, const T* old, const std::vector<Key>& oldKeys,
                const std::shared_ptr<const T>& next, const std::vector<Key>& nextKeys) {
  for (const Key& key : oldKeys) {
    if (std::find(nextKeys.begin(), nextKeys.end(), key) == nextKeys.end()) {
      unclaim(editor, key, *old);
    }
  }
  return std::all_of(nextKeys.begin(), nextKeys.end(),
                     [&](const Key& key) { return claim(editor, key, next); });
}

const std::vector<Ip>& claimedBy(const Workload* workload) {
  static const std::vector<Ip> kNone;
  return workload == nullptr || workload->hostNetwork ? kNone : workload->addresses;
}

/// A range in two networks is one claim: who looks it up asks for the network.
std::vector<Cidr> claimedBy(const Service* service) {
  std::vector<Cidr> ranges;
  if (service != nullptr) {
    for (const Vip& vip : service->addresses) {
      ranges.push_back(vip.range);
    }
  }
  return ranges;
}

/// True when a verdict for connections to this workload may now be another.
bool decidesOtherwise(const Workload* old, const Workload* next) {
  static const std::vector<std::string> kNone;
  const bool moved = old != nullptr && next != nullptr && old->namespaceName != next->namespaceName;
  return moved ||
         (old == nullptr ? kNone : old->policies) != (next == nullptr ? kNone : next->policies);
}

/// True when a connection that was routed to this workload may have to end.
bool routesOtherwise(const Workload* old, const Workload* next) {
  return old != nullptr &&
         (next == nullptr || old->hbone != next->hbone || old->hostNetwork != next->hostNetwork ||
          old->waypoint != next->waypoint || old->network != next->network ||
          old->addresses != next->addresses || old->spiffeId() != next->spiffeId());
}

/// One delta's work. Everything that goes in stays alive through the base and the delta.
class Builder {
 public:
  explicit Builder(const TablesState& base)
      : base_(base),
        workloads_(base.workloads),
        workloadIps_(base.workloadIps),
        services_(base.services),
        vips_(base.vips),
        vipLengths_(base.vipLengths),
        endpoints_(base.endpoints),
        policies_(base.policies),
        namespacePolicies_(base.namespacePolicies) {}

  Result<std::shared_ptr<const TablesState>> build(const TablesDelta& delta);

 private:
  // Per service, per workload: what its endpoint is now. A null workload: it is none any more.
  using EndpointEdits = std::map<std::string_view, ServiceEndpoint>;
  using Newcomers = std::vector<std::shared_ptr<const Policy>>;

  bool changeWorkload(std::string_view uid, const std::shared_ptr<const Workload>& next);
  bool changeService(std::string_view key, const std::shared_ptr<const Service>& next);
  void countRanges(const std::vector<Cidr>& ranges, uint32_t by);
  void changePolicy(std::string_view key, const std::shared_ptr<const Policy>& next);
  Newcomers* groupOf(const Policy& policy);
  Status changeAll(const TablesDelta& delta);
  void finishEndpoints(std::string_view service, EndpointEdits edits);
  void finishGroup(std::string_view namespaceName, Newcomers newcomers);
  std::shared_ptr<const PolicyGroup> regrouped(const PolicyGroup* old, std::string_view name,
                                               Newcomers newcomers) const;

  const TablesState& base_;
  decltype(TablesState::workloads)::Editor workloads_;
  decltype(TablesState::workloadIps)::Editor workloadIps_;
  decltype(TablesState::services)::Editor services_;
  decltype(TablesState::vips)::Editor vips_;
  RangeLengths vipLengths_;
  decltype(TablesState::endpoints)::Editor endpoints_;
  decltype(TablesState::policies)::Editor policies_;
  decltype(TablesState::namespacePolicies)::Editor namespacePolicies_;
  std::unordered_map<std::string_view, EndpointEdits> endpointEdits_;
  std::unordered_set<std::string_view> changedPolicies_;
  std::unordered_map<std::string_view, Newcomers> newcomers_;  // Of each group that changed.
  Newcomers globalNewcomers_;
  bool globalChanged_ = false;
  bool verdictsChanged_ = false;
  bool routesChanged_ = false;
};

bool Builder::changeWorkload(std::string_view uid, const std::shared_ptr<const Workload>& next) {
  const auto* found = base_.workloads.find(uid);
  const Workload* old = found == nullptr ? nullptr : found->get();
  if (next == nullptr) {
    workloads_.erase(uid);
  } else {
    workloads_.set(next->uid, next);
  }
  if (old != nullptr) {
    for (const ServiceBinding& binding : old->services) {
      endpointEdits_[binding.service][old->uid] = {};
    }
  }
  if (next != nullptr) {
    for (const ServiceBinding& binding : next->services) {
      endpointEdits_[binding.service][next->uid] = {next, &binding};
    }
  }
  verdictsChanged_ = verdictsChanged_ || decidesOtherwise(old, next.get());
  routesChanged_ = routesChanged_ || routesOtherwise(old, next.get());
  return moveClaims(workloadIps_, old, claimedBy(old), next, claimedBy(next.get()));
}

bool Builder::changeService(std::string_view key, const std::shared_ptr<const Service>& next) {
  const auto* found = base_.services.find(key);
  const Service* old = found == nullptr ? nullptr : found->get();
  if (next == nullptr) {
    services_.erase(key);
  } else {
    services_.set(next->key, next);
  }
  routesChanged_ =
      routesChanged_ || (old != nullptr && next != nullptr && old->waypoint != next->waypoint);
  const std::vector<Cidr> before = claimedBy(old);
  const std::vector<Cidr> after = claimedBy(next.get());
  countRanges(before, UINT32_MAX);
  countRanges(after, 1);
  return moveClaims(vips_, old, before, next, after);
}

/// Adds `by` (modulo 2^32) to the count of each range's length.
void Builder::countRanges(const std::vector<Cidr>& ranges, uint32_t by) {
  for (const Cidr& range : ranges) {
    (range.ip.isV4() ? vipLengths_.v4[range.length] : vipLengths_.v6[range.length]) += by;
  }
}

/// The newcomers to the group `policy` belongs to, which is put together again in the end. Null for
/// a policy that belongs to none.
Builder::Newcomers* Builder::groupOf(const Policy& policy) {
  switch (policy.scope) {
    case PolicyScope::kGlobal:
      globalChanged_ = true;
      return &globalNewcomers_;
    case PolicyScope::kNamespace:
      return &newcomers_[policy.namespaceName];
    case PolicyScope::kWorkload:
      return nullptr;
  }
  return nullptr;
}

void Builder::changePolicy(std::string_view key, const std::shared_ptr<const Policy>& next) {
  const auto* found = base_.policies.find(key);
  const Policy* old = found == nullptr ? nullptr : found->get();
  if (old == next.get() || (old != nullptr && next != nullptr && *old == *next)) {
    return;
  }
  verdictsChanged_ = true;
  changedPolicies_.insert(key);
  if (old != nullptr) {
    groupOf(*old);
  }
  if (next == nullptr) {
    policies_.erase(key);
    return;
  }
  policies_.set(next->key, next);
  Newcomers* const group = groupOf(*next);
  if (group != nullptr && !next->dryRun) {
    group->push_back(next);
  }
}

Status Builder::changeAll(const TablesDelta& delta) {
  // Removals first: an address that moves from one entry to another never looks claimed by both.
  for (const std::string& uid : delta.removedWorkloads) {
    changeWorkload(uid, nullptr);
  }
  for (const auto& workload : delta.workloads) {
    if (!changeWorkload(workload->uid, workload)) {
      return overLimit("workloads with one address", kClaimsMax);
    }
  }
  for (const std::string& key : delta.removedServices) {
    changeService(key, nullptr);
  }
  for (const auto& service : delta.services) {
    if (!changeService(service->key, service)) {
      return overLimit("services with one address", kClaimsMax);
    }
  }
  for (const std::string& key : delta.removedPolicies) {
    changePolicy(key, nullptr);
  }
  for (const auto& policy : delta.policies) {
    changePolicy(policy->key, policy);
  }
  if (workloads_.size() > kWorkloadsMax) {
    return overLimit("workloads", kWorkloadsMax);
  }
  if (services_.size() > kServicesMax) {
    return overLimit("services", kServicesMax);
  }
  if (policies_.size() > kPoliciesMax) {
    return overLimit("policies", kPoliciesMax);
  }
  return {};
}

/// Endpoints that stay keep their order; new ones follow by uid.
void Builder::finishEndpoints(std::string_view service, EndpointEdits edits) {
  auto list = std::make_shared<EndpointList>();
  list->service = service;
  if (const auto* old = endpoints_.find(service)) {
    for (const ServiceEndpoint& endpoint : (*old)->endpoints) {
      const auto edit = edits.find(endpoint.workload->uid);
      if (edit == edits.end()) {
        list->endpoints.push_back(endpoint);
      } else {
        if (edit->second.workload != nullptr) {
          list->endpoints.push_back(std::move(edit->second));
        }
        edits.erase(edit);
      }
    }
  }
  for (auto& [uid, endpoint] : edits) {
    if (endpoint.workload != nullptr) {
      list->endpoints.push_back(std::move(endpoint));
    }
  }
  if (list->endpoints.empty()) {
    endpoints_.erase(service);
  } else {
    const std::string_view key = list->service;
    endpoints_.set(key, std::move(list));
  }
}

/// The group `old` without the policies that changed, and with those that belong in it now. Null
/// when nothing is left.
std::shared_ptr<const PolicyGroup> Builder::regrouped(const PolicyGroup* old, std::string_view name,
                                                      Newcomers newcomers) const {
  std::vector<std::shared_ptr<const Policy>> policies = std::move(newcomers);
  if (old != nullptr) {
    for (const auto& policy : old->index.policies()) {
      if (!changedPolicies_.contains(policy->key)) {
        policies.push_back(policy);
      }
    }
  }
  if (policies.empty()) {
    return nullptr;
  }
  std::sort(policies.begin(), policies.end(),
            [](const auto& a, const auto& b) { return a->key < b->key; });
  return std::make_shared<PolicyGroup>(
      PolicyGroup{std::string(name), PolicyIndex(std::move(policies))});
}

void Builder::finishGroup(std::string_view namespaceName, Newcomers newcomers) {
  const auto* old = base_.namespacePolicies.find(namespaceName);
  auto group =
      regrouped(old == nullptr ? nullptr : old->get(), namespaceName, std::move(newcomers));
  if (group == nullptr) {
    namespacePolicies_.erase(namespaceName);
  } else {
    const std::string_view key = group->namespaceName;
    namespacePolicies_.set(key, std::move(group));
  }
}

Result<std::shared_ptr<const TablesState>> Builder::build(const TablesDelta& delta) {
  if (Status status = changeAll(delta); !status.ok()) {
    return status;
  }
  for (auto& [service, edits] : endpointEdits_) {
    finishEndpoints(service, std::move(edits));
  }
  for (auto& [name, newcomers] : newcomers_) {
    finishGroup(name, std::move(newcomers));
  }

  auto state = std::make_shared<TablesState>();
  state->globalPolicies =
      globalChanged_ ? regrouped(base_.globalPolicies.get(), "", std::move(globalNewcomers_))
                     : base_.globalPolicies;
  state->workloads = std::move(workloads_).finish();
  state->workloadIps = std::move(workloadIps_).finish();
  state->services = std::move(services_).finish();
  state->vips = std::move(vips_).finish();
  state->vipLengths = vipLengths_;
  state->endpoints = std::move(endpoints_).finish();
  state->policies = std::move(policies_).finish();
  state->namespacePolicies = std::move(namespacePolicies_).finish();
  state->policiesReceived = base_.policiesReceived || delta.policiesReceived;
  const bool first = state->policiesReceived != base_.policiesReceived;
  state->policyEpoch = base_.policyEpoch + (verdictsChanged_ || first ? 1 : 0);
  state->routeEpoch = base_.routeEpoch + (routesChanged_ ? 1 : 0);
  return std::shared_ptr<const TablesState>(std::move(state));
}

}  // namespace

Result<std::shared_ptr<const TablesState>> buildTablesState(const TablesState& base,
                                                            TablesDelta delta) {
  return Builder(base).build(delta);
}

}  // namespace weft::proxy
