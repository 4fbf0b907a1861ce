// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "io/sys.h"

namespace weft::io {

/// TCP sockets of one network namespace, ready to connect. Under load they are made in batches,
/// since going into a namespace and back costs two system calls. One thread's; `netns` outlives it.
class SpareSockets {
 public:
  static constexpr size_t kBatchMax = 16;
  /// A batch that lasts less than this is followed by one of twice the size, else by a single
  /// socket.
  static constexpr uint64_t kBurstMs = 100;

  /// `family` is AF_INET or AF_INET6.
  SpareSockets(int netns, int family, TcpOptions options)
      : netns_(netns), family_(family), options_(std::move(options)) {}

  /// A socket as connectTcp() wants it. Fails when none can be made.
  Result<UniqueFd> take(uint64_t nowMs);
  size_t spare() const { return spare_.size(); }

 private:
  Status refill(uint64_t nowMs);

  int netns_;
  int family_;
  TcpOptions options_;
  std::vector<UniqueFd> spare_;
  size_t batch_ = 1;
  uint64_t madeMs_ = 0;
  bool probed_ = false;  // whether the system's own congestion control is the wanted one
};

}  // namespace weft::io
