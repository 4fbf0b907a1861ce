// SPDX-License-Identifier: Apache-2.0
#include "crypto/fiber.h"

#include <doctest/doctest.h>
#include <openssl/err.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cfenv>
#include <csignal>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>

namespace weft::crypto {
namespace {

std::unique_ptr<FiberStack> newStack() {
  return FiberStack::create().value();
}

TEST_CASE("a body runs to its end in one go, or in several") {
  int steps = 0;
  Fiber fiber(newStack(), [&steps] {
    steps = 1;
    Fiber::suspend();
    steps = 2;
  });
  CHECK(Fiber::current() == nullptr);
  fiber.resume();
  CHECK(steps == 1);
  CHECK_FALSE(fiber.ended());
  CHECK(Fiber::current() == nullptr);
  fiber.resume();
  CHECK(steps == 2);
  CHECK(fiber.ended());
}

TEST_CASE("each fiber keeps its variables, however they are interleaved") {
  constexpr size_t kFibers = 50;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::array<double, kFibers> sums{};
  for (size_t i = 0; i < kFibers; i++) {
    fibers.push_back(std::make_unique<Fiber>(newStack(), [&sums, i] {
      // More than there are registers, whole numbers and others.
      std::array<double, 40> values{};
      std::iota(values.begin(), values.end(), static_cast<double>(i) + 0.5);
      for (int round = 0; round < 10; round++) {
        Fiber* const self = Fiber::current();
        Fiber::suspend();
        CHECK(Fiber::current() == self);
        for (double& value : values) {
          value += 1;
        }
      }
      sums[i] = std::accumulate(values.begin(), values.end(), 0.0);
    }));
  }
  for (int round = 0; round < 11; round++) {
    for (auto& fiber : fibers) {
      fiber->resume();
    }
  }
  for (size_t i = 0; i < kFibers; i++) {
    CHECK(fibers[i]->ended());
    CHECK(sums[i] == 40 * (static_cast<double>(i) + 10.5) + 39 * 40 / 2);
  }
}

TEST_CASE("how numbers are rounded belongs to the fiber") {
  Fiber fiber(newStack(), [] {
    std::fesetround(FE_UPWARD);
    Fiber::suspend();
    CHECK(std::fegetround() == FE_UPWARD);
  });
  fiber.resume();
  CHECK(std::fegetround() == FE_TONEAREST);
  fiber.resume();
  CHECK(std::fegetround() == FE_TONEAREST);
}

TEST_CASE("errors of the TLS library stay with the fiber that made them") {
  ERR_clear_error();
  std::vector<uint32_t> reasons;
  Fiber first(newStack(), [&reasons] {
    ERR_put_error(ERR_LIB_SSL, 0, 7, "first.cc", 1);
    ERR_put_error(ERR_LIB_SSL, 0, 8, "first.cc", 2);
    Fiber::suspend();
    const char* file = nullptr;
    int line = 0;
    while (const uint32_t packed = ERR_get_error_line(&file, &line)) {
      CHECK(std::strcmp(file, "first.cc") == 0);
      reasons.push_back(static_cast<uint32_t>(ERR_GET_REASON(packed) * 10 + line));
    }
  });
  Fiber second(newStack(), [] {
    CHECK(ERR_peek_error() == 0);
    ERR_put_error(ERR_LIB_SSL, 0, 9, "second.cc", 1);
    Fiber::suspend();
    ERR_clear_error();
  });
  first.resume();
  CHECK(ERR_peek_error() == 0);
  second.resume();
  first.resume();
  CHECK(reasons == std::vector<uint32_t>{71, 82});
  CHECK(ERR_peek_error() == 0);
  second.resume();
}

TEST_CASE("stacks are reused, wiped, and no more than allowed are in use") {
  FiberStacks stacks(2);
  auto one = stacks.take();
  auto two = stacks.take();
  REQUIRE(one != nullptr);
  REQUIRE(two != nullptr);
  CHECK(stacks.take() == nullptr);
  CHECK(stacks.inUse() == 2);
  std::byte* const bottom = one->bottom();
  std::byte* const last = bottom + one->size() - 1;
  *last = std::byte{0x5a};
  stacks.giveBack(std::move(one));
  auto again = stacks.take();
  REQUIRE(again != nullptr);
  CHECK(again->bottom() == bottom);
  CHECK(*last == std::byte{0});
  stacks.giveBack(std::move(again));
  stacks.giveBack(std::move(two));
  CHECK(stacks.inUse() == 0);
}

/// Mappings of this process.
size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  size_t lines = 0;
  for (std::string line; std::getline(maps, line);) {
    lines++;
  }
  return lines;
}

bool kernelHasGuards() {
  constexpr size_t kBytes = 64 << 10;
  void* const at =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  const bool has = ::madvise(at, kBytes, 102) == 0;
  ::munmap(at, kBytes);
  return has;
}

TEST_CASE("many stacks are few mappings, where the kernel has guards that are none") {
#ifdef __SANITIZE_THREAD__
  MESSAGE("skipped: ThreadSanitizer maps memory of its own beside each stack");
  return;
#endif
  if (!kernelHasGuards()) {
    MESSAGE("skipped: this kernel is older than 6.13, so that each guard is a mapping of its own");
    return;
  }
  constexpr size_t kStacks = 200;
  std::vector<std::unique_ptr<FiberStack>> stacks;
  stacks.reserve(kStacks);
  const size_t before = mappings();
  for (size_t i = 0; i < kStacks; i++) {
    stacks.push_back(newStack());
  }
  CHECK(mappings() < before + kStacks / 10);
}

// As deep as it goes; the array keeps each frame large and the call from becoming a jump.
// NOLINTNEXTLINE(misc-no-recursion)
int dive(int depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? frame[0] : dive(depth - 1) + frame[0];
}

TEST_CASE("a body that goes too deep faults in its guard page") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    // The sanitizers' handler would report it, and run on the stack that is used up.
    std::signal(SIGSEGV, SIG_DFL);
    std::signal(SIGBUS, SIG_DFL);
    Fiber fiber(newStack(), [] { ::_exit(dive(10000) == 0 ? 0 : 1); });
    fiber.resume();
    ::_exit(2);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGSEGV);
}

}  // namespace
}  // namespace weft::crypto
