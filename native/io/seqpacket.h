// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

namespace weft::io {

/// Most bytes and descriptors taken from one packet. A longer packet is cut and marked.
inline constexpr size_t kPacketBytesMax = 4096;
inline constexpr size_t kPacketFdsMax = 4;

/// One packet of an AF_UNIX SOCK_SEQPACKET connection.
struct Packet {
  std::vector<uint8_t> bytes;
  std::vector<UniqueFd> fds;
  bool truncated = false;  ///< It was longer, or carried more descriptors; the excess is gone.
};

struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
};

/// Listens at `path` with mode 0600, replacing a socket file that nobody serves. kUnavailable when
/// somebody does; kInvalid when something else than a socket is there.
Result<UniqueFd> listenSeqpacket(const std::string& path);
/// A connection, or a descriptor below zero: -EAGAIN when there is none, else -errno.
int acceptSeqpacket(int listener);
Result<UniqueFd> connectSeqpacket(const std::string& path);

/// Who is at the other end (SO_PEERCRED), as of its connect() or listen().
Result<PeerCredentials> peerCredentials(int fd);

/// Sends one packet, with `passFd` attached unless it is negative. kUnavailable when the peer does
/// not read.
Status sendPacket(int fd, std::span<const uint8_t> bytes, int passFd);

enum class ReceiveOutcome { kPacket, kLater, kClosed };
/// Takes the next packet. Its descriptors are close-on-exec.
ReceiveOutcome receivePacket(int fd, Packet& packet);

}  // namespace weft::io
