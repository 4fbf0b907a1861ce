// SPDX-License-Identifier: Apache-2.0
// Any bytes as policies, judged for a few clients: a verdict has to follow from the policies it is
// about, and a deny that matches never ends in "allowed".
#include "proxy/policy.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "proxy/tables.h"
#include "proxy/tables_decode.h"

namespace {

using weft::Ip;
using weft::proxy::Policy;
using weft::proxy::PolicyAction;
using weft::proxy::PolicyScope;
using weft::proxy::PolicySubject;
using weft::proxy::Tables;
using weft::proxy::Workload;

const std::vector<PolicySubject>& subjects() {
  static const std::vector<PolicySubject> kSubjects = {
      {"", *Ip::parse("10.0.0.1"), *Ip::parse("10.0.0.2"), 80},
      {"spiffe://td/ns/n/sa/s", *Ip::parse("10.0.0.1"), *Ip::parse("10.0.0.2"), 80},
      {"spiffe://td/ns/n/sa", *Ip::parse("fd00::1"), *Ip::parse("fd00::2"), 65535},
  };
  return kSubjects;
}

/// Whether `policy` is one of those that hold for the workload without being named by it.
bool holdsFor(const Policy& policy, const Workload& workload) {
  return policy.scope == PolicyScope::kGlobal || (policy.scope == PolicyScope::kNamespace &&
                                                  policy.namespaceName == workload.namespaceName);
}

bool matches(const Policy& policy, const PolicySubject& subject) {
  const auto client = weft::proxy::policyClientOf(subject.spiffeId);
  return std::any_of(policy.rules.begin(), policy.rules.end(),
                     [&](const auto& rule) { return weft::proxy::matches(rule, subject, client); });
}

void checkVerdict(const weft::proxy::TablesDelta& delta, const Tables& tables,
                  const Workload& workload, const PolicySubject& subject) {
  bool denied = false;
  bool anyAllow = false;
  bool allowed = false;
  for (const auto& policy : delta.policies) {
    if (policy->dryRun || !holdsFor(*policy, workload)) {
      continue;
    }
    const bool matched = matches(*policy, subject);
    denied = denied || (matched && policy->action == PolicyAction::kDeny);
    anyAllow = anyAllow || policy->action == PolicyAction::kAllow;
    allowed = allowed || (matched && policy->action == PolicyAction::kAllow);
  }
  const bool expected = tables.policiesReceived() && !denied && (allowed || !anyAllow);
  const auto verdict = tables.authorize(workload, subject);
  CHECK(verdict.allowed == expected);
  CHECK(!verdict.reason.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto delta = weft::proxy::decodeTablesDelta({data, size});
  const auto tables = Tables::apply(Tables::empty(), {data, size});
  CHECK(delta.ok() || !tables.ok());
  if (!tables.ok()) {
    return 0;
  }
  Workload workload;
  workload.uid = "w";
  workload.namespaceName = "n";
  for (const PolicySubject& subject : subjects()) {
    checkVerdict(delta.value(), *tables.value(), workload, subject);
  }
  workload.policies = {"not known"};
  const auto& policies = delta.value().policies;
  const bool known = std::any_of(policies.begin(), policies.end(),
                                 [](const auto& policy) { return policy->key == "not known"; });
  for (const PolicySubject& subject : subjects()) {
    CHECK(known || !tables.value()->authorize(workload, subject).allowed);
  }
  return 0;
}
