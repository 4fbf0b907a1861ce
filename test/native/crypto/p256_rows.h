// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <span>
#include <vector>

#include "crypto/mb8.h"

namespace weft::crypto::test {

/// Every row that this machine can run.
inline std::vector<const Kernels*> rows() {
  std::vector<const Kernels*> out = {&portableKernels()};
  if (const Kernels* const wide = avx512Kernels()) {
    out.push_back(wide);
  } else {
    MESSAGE("this processor has no AVX-512 IFMA: the portable row alone is tested");
  }
  return out;
}

/// Runs `operations` through a kernel: each of them in every lane, beside neighbours that are the
/// next ones, and in calls of every size. `check` is told each operation's place among
/// `operations`, and what the kernel made of a copy of it.
template <typename Operation, typename Check>
void inEveryLane(void (*kernel)(std::span<Operation* const>),
                 const std::vector<Operation>& operations, const Check& check) {
  for (size_t first = 0; first < operations.size(); ++first) {
    for (size_t size = 1; size <= kLanes; ++size) {
      // All sizes once in a while, and full calls with every operation in front: so each has
      // stood in each lane.
      if (size != kLanes && first % 7 != 0) {
        continue;
      }
      std::array<Operation, kLanes> copies;
      std::array<Operation*, kLanes> lanes{};
      for (size_t lane = 0; lane < size; ++lane) {
        copies[lane] = operations[(first + lane) % operations.size()];
        lanes[lane] = &copies[lane];
      }
      kernel(std::span<Operation* const>(lanes.data(), size));
      for (size_t lane = 0; lane < size; ++lane) {
        CAPTURE(lane);
        check((first + lane) % operations.size(), copies[lane]);
      }
    }
  }
}

}  // namespace weft::crypto::test
