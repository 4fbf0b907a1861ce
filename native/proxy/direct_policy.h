// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/direct_path.h"
#include "proxy/tables.h"

namespace weft::proxy {

/// A pod of this node, as direct connections know it.
struct LocalPod {
  std::string uid;
  std::string workloadUid;
  std::string spiffeId;
  uint64_t netns = 0;      ///< The cookie of its network namespace.
  uint64_t expiresNs = 0;  ///< Monotonic, when its certificate does; 0 without one.
};

/// What the kernel may decide by itself of connections to `destination` from `sources`: the same as
/// Tables::authorize() would, by asking it, for each port that a policy names and once for all
/// others. Left out, and so left to the proxy, is a source that the tables reach in another way
/// than by a tunnel to the destination's own address, one without a certificate, and one of whose
/// addresses policy would say another thing. Pure.
std::vector<io::DirectVerdict> directVerdicts(const Tables& tables, const LocalPod& destination,
                                              const std::vector<LocalPod>& sources);

/// The service that `source` asked for; null when it asked for the pod. Pure.
std::shared_ptr<const Service> serviceOf(const Tables& tables, const Workload& source,
                                         const io::DirectFlow& flow);

/// Whether a direct connection that is open may stay: as long as the proxy would let it, if it had
/// carried it. Pure.
bool mayStay(const Tables& tables, const LocalPod& source, const LocalPod& destination,
             const io::DirectFlow& flow);

}  // namespace weft::proxy
