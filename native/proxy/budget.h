// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "http/h2.h"
#include "proxy/settings.h"

namespace weft::proxy {

/// A sum that all workers count in. Any thread.
class SharedSum {
 public:
  explicit SharedSum(uint64_t max) : max_(max) {}
  /// Adds `n` when the sum then stays within its maximum.
  bool tryAdd(uint64_t n);
  /// Adds `n` whatever the maximum says: for what is there already.
  void add(uint64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  void subtract(uint64_t n) { value_.fetch_sub(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }
  bool full() const { return value() >= max_; }

 private:
  const uint64_t max_;
  std::atomic<uint64_t> value_ = 0;
};

/// What one pod holds in all workers, and through it the node. Shared by the pod's parts in the
/// workers; nothing in it is ever waited for. Any thread.
class PodBudget final : public http::WindowBudget {
 public:
  /// `nodeBytes` counts what all pods hold.
  PodBudget(const Limits& limits, std::shared_ptr<SharedSum> nodeBytes)
      : connections_(limits.connectionsPerPod),
        bytes_(limits.bytesPerPod),
        nodeBytes_(std::move(nodeBytes)) {}

  SharedSum& connections() { return connections_; }

  /// Memory that is promised to a peer: false when it would be over the pod's or the node's limit.
  bool take(uint32_t bytes) override;
  void give(uint32_t bytes) override;
  /// Counts bytes that are buffered already, instead of `before` that were counted earlier.
  void account(uint64_t before, uint64_t now);
  /// True when nothing should be buffered that need not be.
  bool bytesUsedUp() const { return bytes_.full() || nodeBytes_->full(); }
  uint64_t bytes() const { return bytes_.value(); }

 private:
  SharedSum connections_;
  SharedSum bytes_;
  std::shared_ptr<SharedSum> nodeBytes_;
};

/// The share of a pod's bytes that peers at one address are promised by one worker, on whose thread
/// it lives.
class SourceBudget final : public http::WindowBudget {
 public:
  SourceBudget(std::shared_ptr<PodBudget> pod, uint64_t bytesMax)
      : pod_(std::move(pod)), bytesMax_(bytesMax) {}

  bool take(uint32_t bytes) override;
  void give(uint32_t bytes) override;

 private:
  std::shared_ptr<PodBudget> pod_;
  const uint64_t bytesMax_;
  uint64_t taken_ = 0;
};

}  // namespace weft::proxy
