// SPDX-License-Identifier: Apache-2.0
// Sockets in a pod's network namespace for code that runs on a JavaScript thread, which must not
// change its namespace: each call does its work on a short-lived thread of its own and waits for
// it (tens of microseconds). Any thread may call; the caller owns the result.
#pragma once

#include <cstdint>

#include "base/ip.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace weft::io {

/// A UDP socket that is bound to `local` (port 0: the kernel chooses) in the namespace `netns`,
/// with SO_MARK `mark` unless that is 0. A chosen port is shared by SO_REUSEPORT, so that a
/// successor of this process may bind it before this one ends.
Result<UniqueFd> openPodUdp(int netns, const Endpoint& local, uint32_t mark);

/// A TCP socket that listens at `local`; otherwise as openPodUdp.
Result<UniqueFd> listenPodTcp(int netns, const Endpoint& local, uint32_t mark);

/// A TCP socket that connects to `to`. It may still be connecting: it fails as sockets do.
Result<UniqueFd> connectPodTcp(int netns, const Endpoint& to, uint32_t mark);

}  // namespace weft::io
