// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/status.h"
#include "proxy/policy.h"
#include "proxy/policy_index.h"
#include "proxy/tables.h"
#include "proxy/tables_decode.h"
#include "proxy/tables_shards.h"

namespace weft::proxy {

/// All who claim one address, the newest last: that one has it. Never empty.
template <typename T>
using Claims = std::vector<std::shared_ptr<const T>>;

/// The policies that hold for a whole namespace (or everywhere), without dry-run ones.
struct PolicyGroup {
  std::string namespaceName;
  PolicyIndex index;
};

/// How many ranges of each length there are, by family.
struct RangeLengths {
  std::array<uint32_t, 33> v4{};
  std::array<uint32_t, 129> v6{};
};

/// What a table holds. Views that are keys point into the value they belong to.
struct TablesState {
  ShardedMap<std::string_view, std::shared_ptr<const Workload>> workloads;
  ShardedMap<Ip, Claims<Workload>, IpHash> workloadIps;
  ShardedMap<std::string_view, std::shared_ptr<const Service>> services;
  ShardedMap<Cidr, Claims<Service>, CidrHash> vips;
  RangeLengths vipLengths;
  ShardedMap<std::string_view, std::shared_ptr<const EndpointList>> endpoints;
  ShardedMap<std::string_view, std::shared_ptr<const Policy>> policies;
  ShardedMap<std::string_view, std::shared_ptr<const PolicyGroup>> namespacePolicies;
  std::shared_ptr<const PolicyGroup> globalPolicies;  ///< Null when there are none.
  bool policiesReceived = false;
  uint64_t policyEpoch = 0;
  uint64_t routeEpoch = 0;
};

/// `base` with `delta` applied. kLimit when the outcome would be over a limit; `base` never
/// changes.
Result<std::shared_ptr<const TablesState>> buildTablesState(const TablesState& base,
                                                            TablesDelta delta);

}  // namespace weft::proxy
