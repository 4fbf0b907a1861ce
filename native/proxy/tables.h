// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/status.h"
#include "proxy/policy.h"

namespace weft::proxy {

struct PortMap {
  uint16_t servicePort = 0;
  uint16_t targetPort = 0;
};

struct ServiceBinding {
  std::string service;  ///< key, "namespace/hostname"
  std::vector<PortMap> ports;
};

/// One workload as the control plane describes it. Immutable once in a table.
struct Workload {
  std::string uid;
  std::string name;
  std::string namespaceName;
  std::string serviceAccount;
  std::string trustDomain;
  std::vector<Ip> addresses;
  std::string node;
  bool hbone = false;
  bool healthy = true;
  bool hostNetwork = false;
  std::vector<std::string> policies;
  std::vector<ServiceBinding> services;
  std::string canonicalName;
  std::string canonicalRevision;
  std::string workloadName;
  std::string workloadType;
  std::string cluster;

  /// spiffe://<trust domain>/ns/<namespace>/sa/<service account>
  std::string spiffeId() const;
};

struct Service {
  std::string key;
  std::string name;
  std::string namespaceName;
  std::string hostname;
  std::vector<Ip> addresses;
  std::vector<PortMap> ports;
  std::vector<std::string> subjectAltNames;
};

/// One endpoint of a service: a workload, and the port map that holds for it.
struct ServiceEndpoint {
  std::shared_ptr<const Workload> workload;
  const ServiceBinding* binding = nullptr;  ///< Points into `workload`.
};

/// Everything the data plane knows of the mesh, as one immutable value. Built off the byte path;
/// workers hold a shared_ptr and look up without locks. A new table shares all that did not change
/// with the one it was built from.
class Tables {
 public:
  static std::shared_ptr<const Tables> empty();

  /// `base` with the encoded weft.tables.TablesDelta applied. `delta` is checked in full before
  /// anything is built: kInvalid names the first thing wrong, and `base` stays as it is.
  static Result<std::shared_ptr<const Tables>> apply(const std::shared_ptr<const Tables>& base,
                                                     std::span<const uint8_t> delta);

  std::shared_ptr<const Workload> workloadByUid(std::string_view uid) const;
  /// Host-network workloads are not found by address: theirs is the node's.
  std::shared_ptr<const Workload> workloadByIp(const Ip& ip) const;
  std::shared_ptr<const Service> serviceByVip(const Ip& ip) const;
  std::shared_ptr<const Service> serviceByKey(std::string_view key) const;
  /// The endpoints of a service, healthy or not. Valid as long as this table.
  std::span<const ServiceEndpoint> endpointsOf(std::string_view serviceKey) const;

  /// Decides one connection to `destination`. See policy.h; fails closed.
  Verdict authorize(const Workload& destination, const PolicySubject& subject) const;

  bool policiesReceived() const;
  size_t workloadCount() const;
  size_t serviceCount() const;
  size_t policyCount() const;
  /// Rises by one with each table in which any policy, or a workload's list of policies, changed.
  uint64_t policyEpoch() const;

 private:
  struct State;
  explicit Tables(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace weft::proxy
