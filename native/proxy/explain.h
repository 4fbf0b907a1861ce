// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "proxy/route.h"
#include "proxy/tables.h"

namespace weft::proxy {

inline constexpr size_t kExplainedEndpointsMax = 100;

/// What would become of a connection, and why.
struct Explanation {
  /// One place where the connection may end.
  struct Endpoint {
    Route route;
    bool direct = false;   ///< Past the proxy: the kernel asks policy, and `route` has no part.
    bool checked = false;  ///< A proxy stands there and asks policy: `verdict` is its answer.
    Verdict verdict;
  };

  Route::Kind path = Route::Kind::kRefuse;  ///< Of the first endpoint, if there are several.
  std::string why;                          ///< A sentence for a person.
  bool captured = false;       ///< The source is in the mesh. If not, the proxy never sees it.
  std::string sourceIdentity;  ///< What tunnels prove of the source; empty when there are none.
  std::string service;         ///< Key, when addressed by VIP.
  /// The endpoints of which one is chosen by load: the nearest, at most kExplainedEndpointsMax.
  std::vector<Endpoint> endpoints;
  size_t endpointsTotal = 0;
};

/// Explains a connection of the workload `sourceUid` to `destination`, by the code that decides
/// connections and by what `tables` know of both ends. What a worker learned by itself (load,
/// endpoints left out for a while) has no part in it. Nothing is changed. kInvalid when the source
/// is not known.
Result<Explanation> explain(const Tables& tables, std::string_view sourceUid,
                            const weft::Endpoint& destination, bool registryOnly);

}  // namespace weft::proxy
