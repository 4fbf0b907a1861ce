// SPDX-License-Identifier: Apache-2.0
// Whether a loop sleeps, seen by the kernel's count of voluntary switches.
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "io/loop.h"

using weft::UniqueFd;
using weft::io::Loop;
using weft::io::Pollable;
using weft::io::Timer;

namespace {

constexpr uint64_t kLong = 10'000'000;  // microseconds

/// How often this thread slept. A yield is no sleep.
long sleeps() {
  rusage used{};
  REQUIRE(::getrusage(RUSAGE_THREAD, &used) == 0);
  return used.ru_nvcsw;
}

/// One event after another, each `gapMicros` after the last was taken. From the second on, before
/// which the loop had one, ends the loop when `enough` says so.
class EventSource : public Pollable {
 public:
  EventSource(Loop& loop, uint64_t gapMicros, std::function<bool()> enough)
      : loop_(loop), gapMicros_(gapMicros), enough_(std::move(enough)) {
    loop_.watch(timer_.get(), this);
    arm();
  }
  void onReady(uint32_t) override {
    uint64_t count = 0;
    REQUIRE(::read(timer_.get(), &count, sizeof count) == sizeof count);
    polls = loop_.busyPolls() - pollsBefore_;
    slept = sleeps() - sleepsBefore_;
    if (++rounds_ > 1 && enough_()) {
      loop_.stop();
    } else {
      arm();
    }
  }
  uint64_t polls = 0;  ///< Before the last event.
  long slept = 0;      ///< The same.

 private:
  void arm() {
    pollsBefore_ = loop_.busyPolls();
    sleepsBefore_ = sleeps();
    itimerspec in{};
    in.it_value.tv_sec = static_cast<time_t>(gapMicros_ / 1000000);
    in.it_value.tv_nsec = static_cast<long>(gapMicros_ % 1000000 * 1000);
    REQUIRE(::timerfd_settime(timer_.get(), 0, &in, nullptr) == 0);
  }
  Loop& loop_;
  const uint64_t gapMicros_;
  std::function<bool()> enough_;
  const UniqueFd timer_{::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)};
  int rounds_ = 0;
  uint64_t pollsBefore_ = 0;
  long sleepsBefore_ = 0;
};

/// Keeps this thread, and those that it starts, on one processor.
class OneProcessor {
 public:
  OneProcessor() {
    REQUIRE(::sched_getaffinity(0, sizeof before_, &before_) == 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(::sched_getcpu()), &one);
    REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  }
  ~OneProcessor() { ::sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

}  // namespace

TEST_CASE("without busy polling a loop sleeps at once") {
  Loop loop;
  EventSource source(loop, 200, [&] { return source.slept > 0; });
  loop.run();
  CHECK(source.slept > 0);
  CHECK(loop.busyPolls() == 0);
}

TEST_CASE("within the time of busy polling an event is taken without sleep") {
  Loop loop({.micros = kLong, .yieldMicros = kLong});
  EventSource source(loop, 200, [] { return true; });
  loop.run();
  CHECK(source.slept == 0);
  CHECK(source.polls > 0);
}

TEST_CASE("posted work is taken without sleep, too") {
  Loop loop({.micros = kLong, .yieldMicros = kLong});
  std::atomic<bool> asked = false;
  std::thread other([&] {
    while (!asked) {
      std::this_thread::yield();
    }
    loop.stop();
  });
  long before = 0;
  loop.post([&] {
    before = sleeps();
    asked = true;
  });
  loop.run();
  CHECK(sleeps() == before);
  other.join();
}

TEST_CASE("after the time of busy polling a loop sleeps") {
  Loop loop({.micros = 500, .yieldMicros = kLong});
  EventSource source(loop, 300000, [] { return true; });
  loop.run();
  CHECK(source.slept > 0);
  CHECK(source.polls > 0);
}

TEST_CASE("a loop that polls busily sleeps as soon as another thread wants the processor") {
  const OneProcessor one;
  std::atomic<bool> done = false;
  std::thread rival([&] {
    while (!done) {
    }
  });
  Loop loop({.micros = kLong});
  EventSource source(loop, 300000, [] { return true; });
  loop.run();
  done = true;
  rival.join();
  CHECK(source.slept > 0);
}

TEST_CASE("a timer runs in time while a loop polls busily") {
  Loop loop({.micros = kLong, .yieldMicros = kLong});
  Timer end;
  const uint64_t start = weft::monotonicMillis();
  loop.post([&] { end.start(loop, 20, [&] { loop.stop(); }); });
  loop.run();
  CHECK(weft::monotonicMillis() - start < kLong / 1000);
}
