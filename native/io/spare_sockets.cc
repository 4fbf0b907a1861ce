// SPDX-License-Identifier: Apache-2.0
#include "io/spare_sockets.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "io/netns.h"

namespace weft::io {

Result<UniqueFd> SpareSockets::take(uint64_t nowMs) {
  if (spare_.empty()) {
    if (Status status = refill(nowMs); !status.ok()) {
      return status;
    }
  }
  UniqueFd fd = std::move(spare_.back());
  spare_.pop_back();
  return fd;
}

Status SpareSockets::refill(uint64_t nowMs) {
  const bool burst = madeMs_ != 0 && nowMs - madeMs_ < kBurstMs;
  batch_ = burst ? std::min(batch_ * 2, kBatchMax) : 1;
  madeMs_ = nowMs;
  std::vector<UniqueFd> made;
  if (Status status = socketsIn(netns_, family_, SOCK_STREAM, batch_, made); !status.ok()) {
    return status;
  }
  if (!std::exchange(probed_, true) && congestionOf(made.front().get()) == options_.congestion) {
    options_.congestion.clear();
  }
  for (UniqueFd& fd : made) {
    if (Status status = setUp(fd.get(), options_); !status.ok()) {
      return status;
    }
  }
  spare_ = std::move(made);
  return {};
}

}  // namespace weft::io
