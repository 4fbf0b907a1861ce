// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <ctime>

namespace weft {
namespace {

uint64_t nanosOf(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

uint64_t monotonicMicros() {
  return monotonicNanos() / 1000;
}

uint64_t monotonicNanos() {
  return nanosOf(CLOCK_MONOTONIC);
}

uint64_t threadNanos() {
  return nanosOf(CLOCK_THREAD_CPUTIME_ID);
}

int64_t unixSeconds() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec;
}

int64_t unixMillis() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace weft
