// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "io/capture.h"
#include "io/netns.h"
#include "proxy/hbone_peer.h"

namespace weft::test {

/// A stand-in for the kernel's part of direct connections: it keeps what it is told, and decides
/// nothing. The kernel's own is tested live, in test/integration/kernel. Outlives its users; any
/// thread.
class DirectKernel {
 public:
  using Rows = std::vector<io::DirectVerdict>;
  struct Ended {
    io::DirectFlow flow;
    uint64_t netns = 0;  ///< Where it was ended.
    uint64_t atMs = 0;
    bool decided = false;  ///< The kernel decided of its client's connections still.
  };
  struct State {
    bool full = false;                ///< Nothing can be published.
    bool captures = true;             ///< Else there are no direct connections yet.
    std::map<uint64_t, Rows> tables;  ///< In force, by destination.
    std::map<uint64_t, int> published;
    std::map<uint64_t, int> withdrawn;
    io::ServiceTables services;  ///< In force.
    std::set<uint64_t> off;      ///< Pods that may have no direct connections.
    std::vector<io::DirectFlow> flows;
    std::vector<io::DirectFlow> late;  ///< Which open as soon as one is ended.
    std::vector<Ended> ended;
    std::vector<io::DirectFlow> accepted;  ///< Their other ends, which live by themselves.
    std::vector<io::DirectEvent> events;
    int openings = 0;
    int sweeps = 0;  ///< Times that the flows of one pod were asked for.
    int calls = 0;   ///< That change anything.
  };

  DirectKernel() : wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { need(wake_.get() >= 0); }

  /// A new owner's; null where there are no direct connections.
  std::unique_ptr<io::DirectPath> open();
  void change(const std::function<void(State&)>& how) {
    const std::lock_guard lock(mutex_);
    how(state_);
    changed_.notify_all();
  }
  /// Waits until it holds; false when it does not.
  bool until(const std::function<bool(const State&)>& holds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(kWaitSeconds),
                             [&] { return holds(state_); });
  }
  /// Whether nothing is changed for a while, which is many turns of a loop.
  bool isQuiet() {
    std::unique_lock lock(mutex_);
    const int before = state_.calls;
    return !changed_.wait_for(lock, std::chrono::milliseconds(60),
                              [&] { return state_.calls != before; });
  }
  /// Waits until nothing was changed for that while. False when that never comes.
  bool settles() {
    const uint64_t last = monotonicMillis() + kWaitSeconds * 1000;
    bool quiet = isQuiet();
    while (!quiet && monotonicMillis() < last) {
      quiet = isQuiet();
    }
    return quiet;
  }
  State now() {
    const std::lock_guard lock(mutex_);
    return state_;
  }
  void tell(const io::DirectEvent& event) {
    change([&](State& state) { state.events.push_back(event); });
    const uint64_t one = 1;
    need(::write(wake_.get(), &one, sizeof one) == sizeof one);
  }

 private:
  class Path;

  std::mutex mutex_;
  std::condition_variable changed_;
  State state_;
  UniqueFd wake_;
};

class DirectKernel::Path final : public io::DirectPath {
 public:
  explicit Path(DirectKernel& kernel) : kernel_(kernel) {}

  Status publish(uint64_t destination, std::span<const io::DirectVerdict> verdicts) override {
    Status status;
    kernel_.change([&](State& state) {
      state.calls++;
      if (state.full) {
        state.tables.erase(destination);
        status = {Code::kLimit, "no room"};
        return;
      }
      state.tables[destination] = Rows(verdicts.begin(), verdicts.end());
      state.published[destination]++;
    });
    return status;
  }
  void withdraw(uint64_t destination) override {
    kernel_.change([&](State& state) {
      state.tables.erase(destination);
      state.withdrawn[destination]++;
      state.calls++;
    });
  }
  Status publishServices(const io::ServiceTables& tables) override {
    kernel_.change([&](State& state) {
      state.calls += state.services == tables ? 0 : 1;
      state.services = tables;
    });
    return {};
  }
  std::vector<io::DirectFlow> flowsOf(uint64_t source) const override {
    std::vector<io::DirectFlow> out;
    kernel_.change([&](State& state) {
      state.sweeps++;
      for (const io::DirectFlow& flow : state.flows) {
        if (flow.source == source) {
          out.push_back(flow);
        }
      }
    });
    return out;
  }
  Status end(std::span<const io::DirectFlow> flows, int netns) override {
    const Result<uint64_t> in = io::netnsCookie(netns);
    need(in.ok());
    kernel_.change([&](State& state) {
      for (const io::DirectFlow& flow : flows) {
        endOne(state, flow, in.value());
      }
      for (io::DirectFlow& each : std::exchange(state.late, {})) {
        state.flows.push_back(std::move(each));
      }
      state.calls++;
    });
    return {};
  }
  bool isOn(uint64_t pod) const override {
    bool isOn = true;
    kernel_.change([&](State& state) { isOn = !state.off.contains(pod); });
    return isOn;
  }
  Status endAccepted(uint64_t destination, int netns,
                     const std::function<bool(const io::DirectFlow&)>& isAllowed) override {
    const Result<uint64_t> in = io::netnsCookie(netns);
    need(in.ok() && in.value() == destination);
    std::vector<io::DirectFlow> doomed;  // who judges may ask us, too
    for (const io::DirectFlow& each : kernel_.now().accepted) {
      if (each.destination == destination && !isAllowed(each)) {
        doomed.push_back(each);
      }
    }
    kernel_.change([&](State& state) {
      std::erase_if(state.accepted, [&](const io::DirectFlow& each) {
        return std::any_of(doomed.begin(), doomed.end(), [&](const io::DirectFlow& one) {
          return one.client == each.client && one.server == each.server;
        });
      });
    });
    return {};
  }
  int eventsFd() const override { return kernel_.wake_.get(); }
  void take(const std::function<void(const io::DirectEvent&)>& each) override {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = ::read(kernel_.wake_.get(), &count, sizeof count);
    std::vector<io::DirectEvent> all;
    kernel_.change([&](State& state) { all.swap(state.events); });
    for (const io::DirectEvent& event : all) {
      each(event);
    }
  }

 private:
  static void endOne(State& state, const io::DirectFlow& flow, uint64_t netns) {
    bool decided = false;
    for (const auto& [destination, rows] : state.tables) {
      decided = decided || std::any_of(rows.begin(), rows.end(),
                                       [&](const auto& row) { return row.source == flow.source; });
    }
    state.ended.push_back({flow, netns, monotonicMillis(), decided});
    std::erase_if(state.flows, [&](const io::DirectFlow& each) {
      return each.client == flow.client && each.server == flow.server;
    });
  }

  DirectKernel& kernel_;
};

inline std::unique_ptr<io::DirectPath> DirectKernel::open() {
  bool captures = false;
  change([&](State& state) {
    captures = state.captures;
    state.openings += captures ? 1 : 0;
  });
  return captures ? std::make_unique<Path>(*this) : nullptr;
}

/// Captures as netfilter does, with direct connections by the stand-in.
class DirectCaptures final : public io::Captures {
 public:
  explicit DirectCaptures(DirectKernel& kernel) : kernel_(kernel) {}
  std::shared_ptr<io::Capture> of(int netns) override { return netfilter_.of(netns); }
  std::unique_ptr<io::DirectPath> directPath() override { return kernel_.open(); }

 private:
  DirectKernel& kernel_;
  io::NetfilterCaptures netfilter_;
};

}  // namespace weft::test
