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
/// with SO_MARK `mark` unless that is 0. Its port is nobody else's: see keepPort().
Result<UniqueFd> openPodUdp(int netns, const Endpoint& local, uint32_t mark);

/// A TCP socket that listens at `local`; otherwise as openPodUdp. Connections that a predecessor
/// left in TIME_WAIT are no hindrance.
Result<UniqueFd> listenPodTcp(int netns, const Endpoint& local, uint32_t mark);

/// Takes SO_REUSEADDR from a bound UDP socket. Who lives on it may have set it, as libuv does, and
/// then every process of the pod could bind the port beside it and get its datagrams.
Status keepPort(int fd);

/// A TCP socket that connects to `to`. It may still be connecting: it fails as sockets do.
Result<UniqueFd> connectPodTcp(int netns, const Endpoint& to, uint32_t mark);

}  // namespace weft::io
