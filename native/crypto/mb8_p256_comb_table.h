// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::crypto::p256 {

constexpr size_t kCombBits = 6;
constexpr size_t kCombWindows = 43;
constexpr size_t kCombEntries = 32;

/// (2 * entry + 1) * 64^window * G for each window and entry: the limbs of x, then those of y, in
/// Montgomery's form and below p. A limb's values for all entries of a window stand together, where
/// permutations reach them: no address depends on the entry. Above the 52 bits of a lowest limb
/// of x stands 32 * window + entry, by which a look-up is checked; a multiplication does not see
/// it.
struct CombTable {
  alignas(64) uint64_t limbs[kCombWindows][10][kCombEntries];
};

/// The table, of 110 KB. Any thread may call, where there is AVX-512 IFMA; the first call computes
/// it, in less than a millisecond.
const CombTable& combTable();

}  // namespace weft::crypto::p256
