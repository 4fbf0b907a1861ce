// SPDX-License-Identifier: Apache-2.0
#ifdef __x86_64__
#include <doctest/doctest.h>

#include <array>

#include "crypto/mb8.h"
#include "crypto/order_lanes.h"
#include "crypto/p256_numbers.h"

using namespace weft::crypto;
using namespace weft::crypto::test;

namespace {

constexpr uint64_t kLimbMax = (uint64_t{1} << 52) - 1;
constexpr LimbArray kOrder = {0x9cac2fc632551, 0xada7179e84f3b, 0xfffffffbce6fa, 0x0000fffffffff,
                              0x0ffffffff0000};

/// Limbs that are random, those of n, next to those, or at the end of what a limb holds.
LimbArray randomLimbs(RandomNumbers& random) {
  LimbArray out;
  const bool allOfOneKind = random.word() % 4 == 0;
  uint64_t kind = random.word() % 6;
  for (size_t i = 0; i < 5; ++i) {
    kind = allOfOneKind ? kind : random.word() % 6;
    const uint64_t choices[] = {random.word(), kOrder[i], kOrder[i] + 1,
                                kOrder[i] - 1, 0,         kLimbMax};
    out[i] = choices[kind] & kLimbMax;
  }
  // Below 2^257.
  out[4] &= (uint64_t{1} << 49) - 1;
  return out;
}

Number numberOf(const LimbArray& limbs) {
  Number out(BN_new());
  for (size_t i = 5; i-- > 0;) {
    REQUIRE(BN_lshift(out.get(), out.get(), 52) == 1);
    out = sum(out.get(), test::numberOf(limbs[i]).get());
  }
  return out;
}

void compare(const OrderResults& results, const Number& a, const Number& b) {
  Number r(BN_new());
  REQUIRE(BN_lshift(r.get(), BN_value_one(), 260) == 1);
  const Number perR = reciprocal(r.get(), order());
  const Number ab = product(a.get(), b.get(), order());
  const Number aa = product(a.get(), a.get(), order());
  CHECK(results.product == bytesOf(product(ab.get(), perR.get(), order()).get()));
  CHECK(results.square == bytesOf(product(aa.get(), perR.get(), order()).get()));
  CHECK(results.sum == bytesOf(modulo(sum(a.get(), b.get()).get(), order()).get()));
  const Number reduced = modulo(a.get(), order());
  const bool zero = BN_is_zero(reduced.get()) == 1;
  const Number inverse = zero ? test::numberOf(0) : reciprocal(reduced.get(), order());
  CHECK(results.inverse == bytesOf(inverse.get()));
  CHECK(results.inRange == (!zero && BN_cmp(a.get(), order()) < 0));
}

}  // namespace

TEST_CASE(
    "arithmetic modulo the order of P-256 in lanes is the library's, at the ends of limbs too") {
  if (avx512Kernels() == nullptr) {
    MESSAGE("skipped: this processor has no AVX-512 IFMA");
    return;
  }
  RandomNumbers random(7);
  for (int round = 0; round < 300; ++round) {
    std::array<LimbArray, kLanes> a;
    std::array<LimbArray, kLanes> b;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      a[lane] = randomLimbs(random);
      b[lane] = randomLimbs(random);
    }
    std::array<OrderResults, kLanes> results;
    computeModuloOrder(a, b, results);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      compare(results[lane], numberOf(a[lane]), numberOf(b[lane]));
    }
  }
}
#endif
