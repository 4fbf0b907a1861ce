// SPDX-License-Identifier: Apache-2.0
// Where programs are tried: a network namespace and a cgroup that nobody else is in, and sockets of
// either family there. One thread, which stays in that namespace.
#pragma once

#include <sys/socket.h>

#include <string>

#include "base/ip.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace weft::kernel {

/// The scratch places, each with why it could not be had.
struct ProbeScratch {
  UniqueFd netns;
  Status netnsStatus;
  UniqueFd cgroup;
  Status cgroupStatus;
};

/// Moves this thread to a new network namespace, whose loopback is up, and the whole process to
/// `cgroup`, a folder of cgroup v2 that is made, or empty where there is none. Neither is left
/// again: for a process that ends after it, when whoever started that removes the folder.
ProbeScratch enterScratch(const std::string& cgroup);

/// A socket address of the family that `endpoint` is of, where Endpoint's own is of IPv6 always.
class FamilyAddress {
 public:
  explicit FamilyAddress(const Endpoint& endpoint);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&raw_); }
  socklen_t size() const { return size_; }

 private:
  sockaddr_storage raw_{};
  socklen_t size_;
};

/// A socket, and its own end.
struct BoundSocket {
  UniqueFd fd;
  Endpoint local;
};

/// A socket of `type` at a free port of `ip`; TCP listens.
Result<BoundSocket> bindAt(const Ip& ip, int type);

/// A TCP socket that was connected, or did not.
struct Connected {
  UniqueFd fd;
  int error = 0;  ///< errno; 0: it is connected
};

/// Connects to `to`, and waits two seconds at most.
Connected connectTo(const Endpoint& to);

/// Waits two seconds at most until `fd` can be read.
bool isReadable(int fd);

/// An address that nobody has (RFC 5737, RFC 3849).
Ip nowhere(bool isV4);
/// 127.0.0.1 or ::1.
Ip loopback(bool isV4);

}  // namespace weft::kernel
