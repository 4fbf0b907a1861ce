// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/ip.h"
#include "base/unique_fd.h"

namespace weft::proxy {

/// Shares one pod's accepted connections out among the workers. One worker alone listens, so that
/// each port is bound by one socket and nobody else in the pod can bind it beside us, as
/// SO_REUSEPORT would let root do. Any thread.
class Spread {
 public:
  /// `listener` is the index of the worker that listens, below `workers`.
  Spread(size_t listener, size_t workers) : listener_(listener), loads_(workers) {}

  size_t listener() const { return listener_; }
  /// Where the next connection goes: to the worker that carries the fewest of the pod's, the
  /// listening one where it is among them. One to which kHandedOverMax are under way gets no more.
  /// Counts the connection as under way until arrived(). For the listening worker.
  size_t choose();
  void arrived(size_t worker) { loads_[worker].underWay.fetch_sub(1, std::memory_order_relaxed); }
  /// `worker` carries one connection more, or fewer.
  void opened(size_t worker) { loads_[worker].open.fetch_add(1, std::memory_order_relaxed); }
  void closed(size_t worker) { loads_[worker].open.fetch_sub(1, std::memory_order_relaxed); }

 private:
  struct Load {
    std::atomic<uint64_t> open = 0;
    std::atomic<uint64_t> underWay = 0;
  };

  const size_t listener_;
  std::vector<Load> loads_;
};

/// A connection between the listener that accepted it and the worker that carries it.
struct Accepted {
  uint16_t port = 0;  ///< Of the listener.
  UniqueFd fd;
  Endpoint peer;
  std::shared_ptr<Spread> spread;  ///< Of the pod whose listener it was.
};

/// Brings a connection to the pod's part in another worker. On the listening worker's thread.
using HandOver = std::function<void(size_t worker, Accepted accepted)>;

}  // namespace weft::proxy
