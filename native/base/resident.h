// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace weft {

/// Addresses of this process.
struct MappedRange {
  uintptr_t begin = 0;
  uintptr_t end = 0;
};

/// The ranges in the text of /proc/PID/smaps whose pages are all a file's own: mapped from it,
/// private, not writable, and never written. Lines that are not understood are passed over.
std::vector<MappedRange> cleanFileRanges(std::string_view smaps);

/// Gives back the pages of programs and libraries that are resident, and what malloc keeps for
/// nothing. Most were for the start alone; the rest is mapped again from the page cache at its next
/// use. Returns the bytes of the ranges that were given back, 0 when the kernel does not say which.
/// Any thread, and any number of others may run.
size_t releaseStartPages();

}  // namespace weft
