// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "base/ip.h"
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

/// One that was counted in a sum, until the claim dies. It may be empty. Keeps the sum alive.
class Claim {
 public:
  Claim() = default;
  /// Empty when the sum is full.
  static Claim on(std::shared_ptr<SharedSum> sum);
  Claim(Claim&& other) noexcept : sum_(std::move(other.sum_)) {}
  Claim& operator=(Claim&& other) noexcept;
  ~Claim() { release(); }
  explicit operator bool() const { return sum_ != nullptr; }

 private:
  void release();

  std::shared_ptr<SharedSum> sum_;
};

class Source;

/// What one pod holds in all workers, and through it the node. Shared by the pod's parts in the
/// workers; nothing in it is waited for on the way of a byte. Any thread.
class PodBudget final : public http::WindowBudget, public std::enable_shared_from_this<PodBudget> {
 public:
  /// `nodeBytes` counts what all pods hold.
  PodBudget(const Limits& limits, std::shared_ptr<SharedSum> nodeBytes)
      : limits_(limits),
        connections_(limits.connectionsPerPod),
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

  /// What peers at `ip` hold of the pod: the same for all who ask while anybody keeps it. Takes a
  /// lock, so it is for when a connection comes in. The budget has to be owned by a shared_ptr.
  std::shared_ptr<Source> source(const Ip& ip);
  /// Addresses of which something is held.
  size_t sources() const;

 private:
  friend class Source;
  void forget(const Ip& ip);

  const Limits limits_;
  SharedSum connections_;
  SharedSum bytes_;
  std::shared_ptr<SharedSum> nodeBytes_;
  mutable std::mutex mutex_;
  /// Guarded by mutex_. Ordered, since peers choose their addresses, and could choose such as hash
  /// alike.
  std::map<Ip, std::weak_ptr<Source>> sources_;
};

/// What peers at one address hold of one pod, in all workers. Goes with the last who keeps it. Any
/// thread.
class Source final : public http::WindowBudget {
 public:
  Source(std::shared_ptr<PodBudget> pod, const Ip& ip);
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source() override;

  /// Tunnels that are not up yet, and those that never will be until their sockets are closed.
  SharedSum& handshakes() { return handshakes_; }
  SharedSum& tunnels() { return tunnels_; }
  /// Streams and plaintext connections: half of what the pod may have.
  SharedSum& connections() { return connections_; }

  /// As the pod's own, and false too when it would be over half of the pod's limit.
  bool take(uint32_t bytes) override;
  void give(uint32_t bytes) override;

 private:
  const std::shared_ptr<PodBudget> pod_;
  const Ip ip_;
  SharedSum handshakes_;
  SharedSum tunnels_;
  SharedSum connections_;
  SharedSum bytes_;
};

}  // namespace weft::proxy
