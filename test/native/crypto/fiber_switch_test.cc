// SPDX-License-Identifier: Apache-2.0
#include "crypto/fiber_switch.h"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>

namespace weft::crypto {
namespace {

/// What a callee must keep. x86-64: rbp, rbx, r12 to r15. arm64: x19 to x29, d8 to d15.
#ifdef __x86_64__
constexpr size_t kKept = 6;
/// Of the stack pointer where a function begins: the call has put its return address there.
constexpr uintptr_t kBelowAligned = 8;
#else
constexpr size_t kKept = 19;
constexpr uintptr_t kBelowAligned = 0;
#endif

using Registers = std::array<uint64_t, kKept>;

struct alignas(16) Stack {
  std::array<std::byte, 4096> bytes{};
  std::byte* top() { return bytes.data() + bytes.size(); }
};

}  // namespace

// As switch_probe.S knows it.
struct Side {
  void* at = nullptr;
  Registers in{};
  Registers out{};
};
struct Probe {
  Side outer;
  Side inner;
  uintptr_t entry = 0;
};

extern "C" {
void weft_probe_switch(Side* mine, const Side* other);
void weft_probe_side(void* probe);
}

TEST_CASE("a switch keeps every register that a function must keep, on both sides") {
  Stack stack;
  Probe probe;
  probe.inner.at = newFiberFrame(stack.top(), weft_probe_side, &probe);
  std::mt19937_64 random(1);  // NOLINT(cert-msc51-cpp): the same in each run
  Registers before{};
  for (int round = 0; round < 4; round++) {
    CAPTURE(round);
    if (round > 0) {
      // The inner side has waited with them since the last round.
      before = probe.inner.in;
    }
    for (size_t i = 0; i < kKept; i++) {
      probe.outer.in[i] = random();
      probe.inner.in[i] = random();
    }
    weft_probe_switch(&probe.outer, &probe.inner);
    for (size_t i = 0; i < kKept; i++) {
      CAPTURE(i);
      CHECK(probe.outer.out[i] == probe.outer.in[i]);
      CHECK(probe.inner.out[i] == before[i]);
    }
  }
}

TEST_CASE("a new stack begins as a call would: its pointer aligned, at the top") {
  Stack stack;
  Probe probe;
  probe.inner.at = newFiberFrame(stack.top(), weft_probe_side, &probe);
  weft_probe_switch(&probe.outer, &probe.inner);
  CHECK((probe.entry + kBelowAligned) % 16 == 0);
  const auto top = reinterpret_cast<uintptr_t>(stack.top());
  CHECK(probe.entry <= top);
  CHECK(top - probe.entry <= 32);
}

}  // namespace weft::crypto
