// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "http/h2.h"
#include "proxy/events.h"
#include "proxy/route.h"

namespace weft::proxy {

/// The CONNECT request for one outbound connection, as HBONE peers expect it: authority, baggage of
/// the source workload, forwarded, and a fresh traceparent (W3C Trace Context, not sampled).
http::ConnectRequest connectRequestFor(const ConnectionInfo& info, Random& random);

}  // namespace weft::proxy
