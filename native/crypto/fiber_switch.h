// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

extern "C" {
/// Saves what a callee must keep on the stack that runs, notes in `*from` where, and goes on from
/// `to`: what an earlier call noted, or newFiberFrame() made. Returns when somebody goes on from
/// what it noted.
void weft_fiber_switch(void** from, void* to);
}

namespace weft::crypto {

/// Writes a frame to the top of a stack from which weft_fiber_switch() calls `function` with
/// `argument`; `top` is the first address past the stack, a multiple of 16. The function must not
/// return. Returns what to go on from.
void* newFiberFrame(std::byte* top, void (*function)(void*), void* argument);

}  // namespace weft::crypto
