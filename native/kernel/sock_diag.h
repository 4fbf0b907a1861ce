// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/inet_diag.h>

#include <cstdint>
#include <functional>

#include "base/ip.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace weft::kernel {

/// A TCP socket that is connected, or about to be.
struct TcpSocket {
  Endpoint local;
  Endpoint remote;
  uint32_t mark = 0;
  uint64_t cookie = 0;
};

/// Looks at TCP sockets of one network namespace, and ends them, by sock_diag(7). One thread.
class SockDiag {
 public:
  /// For workers only: the thread visits the namespace.
  static Result<SockDiag> open(int netns);

  /// Calls `each` for all that neither listen nor are over.
  Status list(const std::function<void(const TcpSocket&)>& each);
  /// Resets the one that has these ends and this cookie, which no other socket ever has: ends alone
  /// would also name who listens there. One that is gone is no error.
  Status end(const TcpSocket& socket);

 private:
  explicit SockDiag(UniqueFd fd) : fd_(std::move(fd)) {}
  Status listFamily(uint8_t family, const std::function<void(const TcpSocket&)>& each);
  UniqueFd fd_;
};

}  // namespace weft::kernel
