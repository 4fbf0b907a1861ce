// SPDX-License-Identifier: Apache-2.0
// Sockets in a pod's network namespace for code that runs on a JavaScript thread, which must not
// change its namespace: each call does its work on a short-lived thread of its own and waits for
// it (tens of microseconds). Any thread may call; the caller owns the result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/ip.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace weft::io {

/// A UDP socket that is bound to `local` (port 0: the kernel chooses) in the namespace `netns`,
/// with SO_MARK `mark` unless that is 0. Its port is nobody else's until who lives on the socket
/// sets SO_REUSEADDR, as libuv does: for a socket that is then connected to its only peer.
Result<UniqueFd> openPodUdp(int netns, const Endpoint& local, uint32_t mark);

/// The same, not bound yet, for bindAlone().
Result<UniqueFd> openPodUdpUnbound(int netns, bool ipv6, uint32_t mark);

/// Binds the UDP socket `fd` to `local` so that at no time anybody shares the port: it takes off
/// SO_REUSEADDR and SO_REUSEPORT, whoever set them, before it asks for the port. kConflict when
/// another socket has that, with whatever options.
Status bindAlone(int fd, const Endpoint& local);

/// Takes off what lets others share the port of a bound socket, whoever set it.
Status unshare(int fd);

/// checkInherited() for any thread.
Status checkPodSocket(int fd, int netns, int type, const Endpoint& local);

/// A TCP socket that listens at `local`; otherwise as openPodUdp. Connections that a predecessor
/// left in TIME_WAIT are no hindrance.
Result<UniqueFd> listenPodTcp(int netns, const Endpoint& local, uint32_t mark);

/// A TCP socket that connects to `to`. It may still be connecting: it fails as sockets do.
Result<UniqueFd> connectPodTcp(int netns, const Endpoint& to, uint32_t mark);

/// An Ethernet frame, header and all, and the device that it leaves by. It does not own the bytes.
struct PodFrame {
  std::string device;
  std::span<const std::byte> bytes;
};

/// Sends frames from the namespace `netns`, in their order. An error leaves the rest unsent.
Status sendPodFrames(int netns, std::span<const PodFrame> frames);

}  // namespace weft::io
