// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "http/h2.h"
#include "proxy/events.h"
#include "proxy/route.h"

namespace weft::proxy {

inline constexpr size_t kBaggageBytesMax = 8192;  ///< That every party takes (W3C Baggage).

/// The `baggage` field by which HBONE peers tell each other a workload: that of the source in a
/// request, that of the destination in the answer which grants it. Encoded once for as long as the
/// same workload is asked for, which in a pod is its own. One thread.
class BaggageFields {
 public:
  /// One field, or none: of a workload that is null, has nothing to tell or takes more than
  /// kBaggageBytesMax. Valid until another workload is asked for.
  const std::vector<http::Header>& of(const std::shared_ptr<const Workload>& workload);

 private:
  std::shared_ptr<const Workload> workload_;
  std::vector<http::Header> fields_;
};

/// The CONNECT request for one outbound connection, as HBONE peers expect it: authority, baggage of
/// the source workload, forwarded, and a fresh traceparent (W3C Trace Context, not sampled).
http::ConnectRequest connectRequestFor(const ConnectionInfo& info, BaggageFields& baggage,
                                       Random& random);

}  // namespace weft::proxy
