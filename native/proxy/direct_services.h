// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "io/direct_path.h"
#include "proxy/balance.h"
#include "proxy/direct_policy.h"
#include "proxy/tables.h"

namespace weft::proxy {

/// A table whose places are picked as these targets weigh, each at least 1, by the alias method: a
/// place for each target, and no weight is rounded. Pure.
io::ServicePicks picksOf(std::span<const std::pair<Endpoint, uint32_t>> weighed);

/// What the kernel may pick from for connections of `pods`.
struct DirectServices {
  io::ServiceTables tables;
  uint64_t untilMs = UINT64_MAX;  ///< When they are others by themselves.
};

/// Asks `balancer` what it would choose from, for each address and port of the services that one of
/// `pods` is an endpoint of. Left out, and so left to the proxy, is what has no endpoint among the
/// pods that have a certificate, what needs a waypoint, more than io::kServicePicksMax endpoints,
/// ranges of addresses, and what the pods would not understand alike, since they are in different
/// namespaces or places.
DirectServices directServices(const Tables& tables, const std::vector<LocalPod>& pods,
                              Balancer& balancer, uint64_t nowMs);

}  // namespace weft::proxy
