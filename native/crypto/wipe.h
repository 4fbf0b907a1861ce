// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

// Static, so that a file compiled for some processors does not lend its functions to the others.
namespace weft::crypto {

/// Overwrites `size` bytes at `bytes` with zeros. The compiler may not leave it out, even where
/// nothing reads them afterwards.
static inline void wipeBytes(void* bytes, size_t size) {
  std::memset(bytes, 0, size);
  // The memory counts as read here.
  asm volatile("" : : "r"(bytes) : "memory");
}

/// Overwrites `value`, which has no pointers and no destructor, with zeros.
template <typename T>
[[gnu::always_inline]] static inline void wipe(T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  wipeBytes(&value, sizeof(value));
}

/// Bytes below its caller's frame that wipeStack() overwrites. A test looks that no kernel goes
/// deeper.
#ifdef __SANITIZE_ADDRESS__
// Which puts room round every object.
constexpr size_t kStackWiped = size_t{128} * 1024;
#else
constexpr size_t kStackWiped = size_t{24} * 1024;
#endif

/// Overwrites the stack where a function that the caller just called had its frame, with what the
/// compiler put there out of registers. It begins right below the caller's frame: AddressSanitizer
/// would put room above, too, which stayed as it was.
[[maybe_unused]] __attribute__((noinline, no_sanitize("address"))) static void wipeStack() {
  std::byte frame[kStackWiped];
  wipeBytes(frame, sizeof(frame));
}

}  // namespace weft::crypto
