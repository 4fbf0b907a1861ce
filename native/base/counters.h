// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace weft {

/// What a worker counts. The order is the layout of the shared memory that metrics read.
enum class Counter : size_t {
  kOutboundAccepted,
  kInboundAccepted,
  kPlaintextAccepted,
  kTunnelsOpened,
  kTunnelsAccepted,
  kTunnelsClosed,
  kTunnelsFailedTls,
  kTunnelsFailedHttp2,
  kTunnelsFailedIdentity,
  kTunnelsFailedConnect,
  kTunnelsTimedOut,
  kStreamsOpened,
  kStreamsClosed,
  kStreamsDenied,
  kStreamsRefused,
  kStreamsReset,
  kPassthroughOpened,
  kPassthroughClosed,
  kBytesFromApps,
  kBytesToApps,
  kLimitReached,
  kConnectsRetried,
  kEventsDropped,
  kCount,
};

inline constexpr size_t kCounterCount = static_cast<size_t>(Counter::kCount);

/// Names in the order of Counter, in snake case, as metrics show them.
extern const std::array<const char*, kCounterCount> kCounterNames;

/// One worker's counters. Written by that worker alone, read by anyone at any time: a value is
/// never torn, and two values need not be of one instant.
class CounterRow {
 public:
  explicit CounterRow(std::atomic<uint64_t>* cells) : cells_(cells) {}

  void add(Counter which, uint64_t n = 1) {
    // A single writer needs no read-modify-write instruction.
    std::atomic<uint64_t>& cell = cells_[static_cast<size_t>(which)];
    cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  uint64_t get(Counter which) const {
    return cells_[static_cast<size_t>(which)].load(std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t>* cells_;
};

/// The counters of all workers in one piece of memory: `rows` rows of kCounterCount 64-bit cells.
class CounterTable {
 public:
  explicit CounterTable(size_t rows);
  CounterRow row(size_t index);
  size_t rows() const { return rows_; }
  std::span<std::atomic<uint64_t>> cells() { return {cells_.get(), rows_ * kCounterCount}; }
  /// The sum over all rows.
  uint64_t sum(Counter which) const;

 private:
  size_t rows_;
  std::unique_ptr<std::atomic<uint64_t>[]> cells_;
};

}  // namespace weft
