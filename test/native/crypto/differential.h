// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "crypto/draw.h"
#include "crypto/operations.h"

namespace weft::crypto {

/// Gives `count` drawn operations or a few more to both rows, mostly in full batches, and tells
/// where `row` answers something else than the portable row: "name, seed, number, lane". Stops at
/// ten.
template <typename Operation>
std::vector<std::string> differences(const Kernels& row, size_t count, uint64_t seed) {
  constexpr size_t kTold = 10;
  Draw draw(seed);
  std::vector<std::string> found;
  for (size_t done = 0; done < count && found.size() < kTold;) {
    const size_t batch = draw.below(4) == 0 ? 1 + draw.below(kLanes) : kLanes;
    std::array<Operation, kLanes> wanted{};
    for (size_t i = 0; i < batch; i++) {
      draw.fill(wanted[i]);
    }
    run(portableKernels(), wanted.data(), batch);
    std::array<Operation, kLanes> got = wanted;
    for (size_t i = 0; i < batch; i++) {
      Of<Operation>::spoil(got[i]);
    }
    run(row, got.data(), batch);
    for (size_t i = 0; i < batch; i++) {
      if (!Of<Operation>::same(wanted[i], got[i])) {
        found.push_back(std::string(Of<Operation>::kName) + ", seed " + std::to_string(seed) +
                        ", number " + std::to_string(done + i) + ", lane " + std::to_string(i));
      }
    }
    done += batch;
  }
  return found;
}

}  // namespace weft::crypto
