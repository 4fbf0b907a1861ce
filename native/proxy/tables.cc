// SPDX-License-Identifier: Apache-2.0
#include "proxy/tables.h"

#include <utility>

#include "proxy/tables_decode.h"
#include "proxy/tables_state.h"

namespace weft::proxy {
namespace {

template <typename T>
std::shared_ptr<const T> valueOr(const std::shared_ptr<const T>* found) {
  return found == nullptr ? nullptr : *found;
}

template <typename T>
std::shared_ptr<const T> ownerOf(const Claims<T>* claims) {
  return claims == nullptr ? nullptr : claims->back();
}

/// Collects what the policies say of one connection. `allowed` and `denied` are the first of their
/// kind that match.
struct Decision {
  const PolicySubject& subject;
  const Policy* denied = nullptr;
  const Policy* allowed = nullptr;
  bool anyAllow = false;

  void consider(const Policy& policy) {
    if (policy.dryRun || denied != nullptr) {
      return;
    }
    if (policy.action == PolicyAction::kDeny) {
      denied = matches(policy, subject) ? &policy : nullptr;
      return;
    }
    anyAllow = true;
    if (allowed == nullptr && matches(policy, subject)) {
      allowed = &policy;
    }
  }

  void considerAll(const PolicyGroup* group) {
    if (group != nullptr) {
      for (const auto& policy : group->policies) {
        consider(*policy);
      }
    }
  }
};

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

std::shared_ptr<const Workload> Tables::workloadByIp(const Ip& ip) const {
  return ownerOf(state_->workloadIps.find(ip));
}

std::shared_ptr<const Service> Tables::serviceByVip(const Ip& ip) const {
  return ownerOf(state_->vips.find(ip));
}

std::shared_ptr<const Service> Tables::serviceByKey(std::string_view key) const {
  return valueOr(state_->services.find(key));
}

std::span<const ServiceEndpoint> Tables::endpointsOf(std::string_view serviceKey) const {
  const auto* found = state_->endpoints.find(serviceKey);
  return found == nullptr ? std::span<const ServiceEndpoint>() : (*found)->endpoints;
}

Verdict Tables::authorize(const Workload& destination, const PolicySubject& subject) const {
  Decision decision{subject};
  decision.considerAll(state_->globalPolicies.get());
  decision.considerAll(valueOr(state_->namespacePolicies.find(destination.namespaceName)).get());
  const std::string* unknown = nullptr;
  for (const std::string& key : destination.policies) {
    const auto* policy = state_->policies.find(key);
    if (policy != nullptr) {
      decision.consider(**policy);
    } else if (unknown == nullptr) {
      unknown = &key;
    }
  }
  if (decision.denied != nullptr) {
    return {false, decision.denied->key, "denied by policy " + decision.denied->key};
  }
  if (!state_->policiesReceived) {
    return {false, "", "no policies were received from the control plane yet"};
  }
  if (unknown != nullptr) {
    return {false, *unknown, "policy " + *unknown + " holds for the workload, but is not known"};
  }
  if (!decision.anyAllow) {
    return {true, "", "no allow policy holds for the workload"};
  }
  if (decision.allowed != nullptr) {
    return {true, decision.allowed->key, "allowed by policy " + decision.allowed->key};
  }
  return {false, "", "no allow policy matches"};
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
