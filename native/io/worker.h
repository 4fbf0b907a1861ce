// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "io/loop.h"

namespace weft::io {

/// A thread that runs a loop. Signals are blocked in it: they belong to the main thread.
class Worker {
 public:
  /// Starts the thread; `name` (at most 15 characters) is what ps and perf show.
  /// `busyPollMicros` is the loop's.
  explicit Worker(std::string name, uint64_t busyPollMicros = 0);
  /// Stops the loop and joins.
  ~Worker();

  Loop& loop() { return loop_; }
  void post(std::function<void()> work) { loop_.post(std::move(work)); }

 private:
  Loop loop_;
  std::thread thread_;
};

}  // namespace weft::io
