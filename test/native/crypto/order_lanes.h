// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "crypto/mb8.h"

namespace weft::crypto::test {

/// A number by its limbs of 52 bits, the lowest first.
using LimbArray = std::array<uint64_t, 5>;

/// What the arithmetic of a kernel modulo n, the order of P-256, says of a and b.
struct OrderResults {
  Bytes32 product;  ///< a * b / 2^260.
  Bytes32 square;   ///< a^2 / 2^260.
  Bytes32 sum;      ///< a + b.
  Bytes32 inverse;  ///< 1 / a, and 0 where a is 0 modulo n.
  bool inRange;     ///< Whether a is in [1, n-1].
};

/// Eight at once, with a and b below 2^257. Only where there is AVX-512 IFMA.
void computeModuloOrder(const std::array<LimbArray, kLanes>& a,
                        const std::array<LimbArray, kLanes>& b,
                        std::array<OrderResults, kLanes>& out);

}  // namespace weft::crypto::test
