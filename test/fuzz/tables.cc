// SPDX-License-Identifier: Apache-2.0
// Any bytes as a delta, upon a table that holds something: either the answer is a status and the
// table stays as it was, or a table whose parts agree with one another.
#include "proxy/tables.h"

#include <cstdint>
#include <memory>

#include "../native/proxy/delta_writer.h"
#include "base/check.h"

namespace {

using weft::Code;
using weft::proxy::Tables;
using TablesPtr = std::shared_ptr<const Tables>;

/// A workload "a" with 10.0.0.1 in service "s", that service, and policy "n/p".
TablesPtr makeBase() {
  weft::proxy::Workload workload;
  workload.uid = "a";
  workload.namespaceName = "n";
  workload.addresses = {*weft::Ip::parse("10.0.0.1")};
  workload.services = {{"s", {{80, 8080}}}};
  weft::proxy::Service service;
  service.key = "s";
  service.addresses = {weft::proxy::vip("10.96.0.1")};
  weft::proxy::Policy policy;
  policy.key = "n/p";
  policy.namespaceName = "n";
  weft::proxy::DeltaWriter delta;
  delta.add(workload).add(service).add(policy);
  return delta.applyTo(Tables::empty()).value();
}

void checkWorkload(const Tables& tables, const weft::proxy::Workload& workload) {
  CHECK(tables.workloadByUid(workload.uid).get() == &workload);
  for (const weft::Ip& ip : workload.addresses) {
    CHECK(workload.hostNetwork || tables.workloadByIp(ip, workload.network) != nullptr);
  }
  for (const auto& binding : workload.services) {
    size_t found = 0;
    for (const auto& endpoint : tables.endpointsOf(binding.service)) {
      CHECK(tables.workloadByUid(endpoint.workload->uid) == endpoint.workload);
      found += endpoint.workload.get() == &workload && endpoint.binding == &binding ? 1 : 0;
    }
    CHECK(found == 1);
  }
  const weft::proxy::PolicySubject subject{"spiffe://td/ns/n/sa/s", {}, {}, 80};
  CHECK(!tables.authorize(workload, subject).allowed || tables.policiesReceived());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const TablesPtr base = makeBase();
  const auto result = Tables::apply(base, {data, size});
  CHECK(base->workloadCount() == 1 && base->policyCount() == 1 && base->policyEpoch() == 1);
  CHECK(base->workloadByIp(*weft::Ip::parse("10.0.0.1"), "") != nullptr);
  if (!result.ok()) {
    const Code code = result.status().code();
    CHECK(code == Code::kInvalid || code == Code::kLimit);
    CHECK(!result.status().message().empty());
    return 0;
  }
  const TablesPtr& tables = result.value();
  for (const char* uid : {"a", "b", "c"}) {
    if (const auto workload = tables->workloadByUid(uid)) {
      checkWorkload(*tables, *workload);
    }
  }
  // The same delta again is as good, and there is nothing left for it to decide otherwise.
  const auto again = Tables::apply(tables, {data, size});
  CHECK(again.ok());
  CHECK(again.value()->policyEpoch() == tables->policyEpoch());
  CHECK(again.value()->workloadCount() == tables->workloadCount());
  CHECK(again.value()->policyCount() == tables->policyCount());
  return 0;
}
