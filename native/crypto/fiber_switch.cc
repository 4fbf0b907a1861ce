// SPDX-License-Identifier: Apache-2.0
#include "crypto/fiber_switch.h"

#include <algorithm>
#include <array>
#include <cstdint>

// In fiber_switch.S, and no function to call.
extern "C" void weft_fiber_begin();

namespace weft::crypto {

// A frame as weft_fiber_switch() leaves it. It returns to weft_fiber_begin(), with the stack
// pointer a multiple of 16 there, as the call that follows wants it.
void* newFiberFrame(std::byte* top, void (*function)(void*), void* argument) {
  auto* const words = reinterpret_cast<uintptr_t*>(top);
  const auto self = reinterpret_cast<uintptr_t>(argument);
  const auto called = reinterpret_cast<uintptr_t>(function);
  const auto begin = reinterpret_cast<uintptr_t>(&weft_fiber_begin);
#if defined(__x86_64__)
  // mxcsr and the x87 control word as at a program's start; r15, r14, r13, r12, rbx, rbp; rip.
  constexpr uintptr_t kControl = 0x1f80 | uintptr_t{0x037f} << 32;
  const std::array<uintptr_t, 8> frame = {kControl, 0, 0, called, self, 0, 0, begin};
  uintptr_t* const at = words - 2 - frame.size();
#else
  // x19 to x30, d8 to d15, fpcr.
  std::array<uintptr_t, 22> frame{};
  frame[0] = self;
  frame[1] = called;
  frame[11] = begin;
  uintptr_t* const at = words - frame.size();
#endif
  std::copy(frame.begin(), frame.end(), at);
  return at;
}

}  // namespace weft::crypto
