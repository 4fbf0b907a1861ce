// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "crypto/p256_numbers.h"

namespace weft::crypto::test {

/// 30 * 2^252 - n: the scalar at which a comb of odd digits of 6 bits adds a point to itself.
constexpr const char* kDoublingScalar =
    "e0000000ffffffff00000000000000004319055258e8617b0c46353d039cdaaf";

/// Scalars in [1, n-1] at which digits, limbs and carries have their edges.
inline std::vector<Bytes32> edgeScalars() {
  std::vector<Number> numbers;
  for (const uint64_t small : {1, 2, 3, 4, 31, 32, 33, 62, 63, 64, 65, 127, 128, 4095, 4096}) {
    numbers.push_back(numberOf(small));
  }
  for (unsigned bits = 48; bits < 256; bits += 4) {
    Number power(BN_new());
    REQUIRE(BN_lshift(power.get(), BN_value_one(), static_cast<int>(bits)) == 1);
    numbers.push_back(difference(power.get(), BN_value_one()));
    numbers.push_back(std::move(power));
  }
  numbers.push_back(numberOfHex(kDoublingScalar));
  numbers.push_back(sum(numbers.back().get(), BN_value_one()));
  numbers.push_back(
      numberOfHex("7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8"));
  std::vector<Bytes32> out;
  for (const Number& each : numbers) {
    out.push_back(bytesOf(each.get()));
    out.push_back(bytesOf(difference(order(), each.get()).get()));
  }
  return out;
}

/// Numbers that are no scalars.
inline std::vector<Bytes32> outOfRange() {
  Bytes32 ones;
  ones.fill(0xff);
  return {Bytes32{}, bytesOf(order()), bytesOf(sum(order(), BN_value_one()).get()),
          bytesOf(prime()), ones};
}

}  // namespace weft::crypto::test
