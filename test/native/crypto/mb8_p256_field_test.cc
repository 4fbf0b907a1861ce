// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <array>
#include <utility>
#include <vector>

#include "crypto/mb8.h"
#include "crypto/p256_numbers.h"

#ifdef __x86_64__

#include "crypto/p256_field_probe_avx512.h"

using namespace weft::crypto;
using namespace weft::crypto::test;

namespace {

constexpr int kLimbBits = 52;

Number powerOfTwo(int bits) {
  Number out = numberOf(1);
  REQUIRE(BN_lshift(out.get(), out.get(), bits) == 1);
  return out;
}

Number times(const BIGNUM* a, uint64_t by) {
  Number out(BN_new());
  REQUIRE(BN_mul(out.get(), a, numberOf(by).get(), context()) == 1);
  return out;
}

/// The number in one lane. Fails where a limb has more than its bits.
Number numberIn(const LaneLimbs& limbs, size_t lane) {
  Number out = numberOf(0);
  for (size_t i = 5; i-- > 0;) {
    REQUIRE(limbs[i][lane] < uint64_t{1} << kLimbBits);
    REQUIRE(BN_lshift(out.get(), out.get(), kLimbBits) == 1);
    out = sum(out.get(), numberOf(limbs[i][lane]).get());
  }
  return out;
}

void putNumber(LaneLimbs& limbs, size_t lane, const BIGNUM* number) {
  Number rest(BN_dup(number));
  const Number limb = powerOfTwo(kLimbBits);
  for (size_t i = 0; i < 5; i++) {
    REQUIRE(BN_get_u64(modulo(rest.get(), limb.get()).get(), &limbs[i][lane]) == 1);
    REQUIRE(BN_rshift(rest.get(), rest.get(), kLimbBits) == 1);
  }
  REQUIRE(BN_is_zero(rest.get()) == 1);
}

/// Numbers below `bound`: random ones, ones with limbs of zeros and of ones, and those round the
/// multiples of p.
std::vector<Number> numbersBelow(const BIGNUM* bound, RandomNumbers& random) {
  std::vector<Number> out;
  for (uint64_t multiple = 0; multiple <= 15; multiple++) {
    const Number at = times(prime(), multiple);
    for (const Number& each :
         {difference(at.get(), BN_value_one()), copyOf(at), sum(at.get(), BN_value_one())}) {
      if (BN_is_negative(each.get()) == 0 && BN_cmp(each.get(), bound) < 0) {
        out.push_back(copyOf(each));
      }
    }
  }
  out.push_back(difference(bound, BN_value_one()));
  for (unsigned full = 0; full < 32; full++) {
    Number limbs = numberOf(0);
    for (unsigned i = 0; i < 5; i++) {
      const uint64_t limb = (full >> i & 1) != 0 ? (uint64_t{1} << kLimbBits) - 1 : 0;
      REQUIRE(BN_lshift(limbs.get(), limbs.get(), kLimbBits) == 1);
      limbs = sum(limbs.get(), numberOf(limb).get());
    }
    out.push_back(modulo(limbs.get(), bound));
  }
  for (int i = 0; i < 60; i++) {
    Number wide = numberOf(random.bytes());
    REQUIRE(BN_lshift(wide.get(), wide.get(), 8) == 1);
    out.push_back(modulo(sum(wide.get(), numberOf(random.word() & 0xff).get()).get(), bound));
  }
  return out;
}

/// Compares a lane with `expected` as elements of the field, and its number with the bound.
void checkLane(const LaneLimbs& got, size_t lane, const Number& expected, const BIGNUM* most,
               bool zeroAllowed = true) {
  const Number number = numberIn(got, lane);
  CHECK(BN_cmp(number.get(), most) <= 0);
  CHECK((zeroAllowed || BN_is_zero(number.get()) == 0));
  CHECK(BN_cmp(modulo(number.get(), prime()).get(), modulo(expected.get(), prime()).get()) == 0);
}

struct Bounds {
  Number sixteen = times(prime(), 16);
  Number fourteen = times(prime(), 14);
  Number seven = times(prime(), 7);
  Number two = times(prime(), 2);
  Number last = difference(prime(), BN_value_one());
  Number folded = sum(prime(), powerOfTwo(234).get());
};

void checkResults(const FieldInputs& inputs, const FieldResults& results, size_t lane) {
  static const Bounds kBounds;
  static const Number kR = powerOfTwo(260);
  static const Number kInverseR = reciprocal(kR.get(), prime());
  const auto overR = [](const Number& x) { return product(x.get(), kInverseR.get(), prime()); };
  const auto modP = [](const Number& x, const Number& y) {
    return product(x.get(), y.get(), prime());
  };
  const Number a = numberIn(inputs.a, lane);
  const Number b = numberIn(inputs.b, lane);
  const Number c = numberIn(inputs.c, lane);
  const Number d = numberIn(inputs.d, lane);
  const Number number = numberIn(inputs.number, lane);
  const Number cMinusD = difference(c.get(), d.get());
  checkLane(results.abOverR, lane, overR(modP(a, b)), kBounds.sixteen.get());
  checkLane(results.aaOverR, lane, overR(modP(a, a)), kBounds.sixteen.get());
  checkLane(results.cMinusD, lane, cMinusD, kBounds.fourteen.get());
  checkLane(results.twiceCMinusD, lane, sum(cMinusD.get(), cMinusD.get()), kBounds.folded.get(),
            false);
  const Number cc8 = times(modP(c, c).get(), 8);
  checkLane(results.cdMinus8ccOverR, lane, overR(difference(modP(c, d).get(), cc8.get())),
            kBounds.folded.get(), false);
  checkLane(results.minusC, lane, difference(numberOf(0).get(), c.get()), kBounds.seven.get());
  checkLane(results.canonicalCMinusD, lane, cMinusD, kBounds.last.get());
  const bool zero = BN_is_zero(modulo(c.get(), prime()).get()) != 0;
  checkLane(results.rrOverC, lane,
            zero ? numberOf(0) : modP(modP(kR, kR), reciprocal(c.get(), prime())),
            kBounds.two.get());
  checkLane(results.numberTimesR, lane, modP(number, kR), kBounds.two.get());
  checkLane(results.aOverR, lane, overR(a), kBounds.last.get());
  CHECK((results.cIsD >> lane & 1) == BN_is_zero(modulo(cMinusD.get(), prime()).get()));
  CHECK((results.numberIsBelowP >> lane & 1) == (BN_cmp(number.get(), prime()) < 0 ? 1 : 0));
}

}  // namespace

TEST_CASE("eight lanes compute in the field of P-256 within their bounds") {
  if (avx512Kernels() == nullptr) {
    MESSAGE("skipped: this processor has no AVX-512 IFMA");
    return;
  }
  RandomNumbers random(3);
  const std::vector<Number> wide = numbersBelow(times(prime(), 15).get(), random);
  const std::vector<Number> narrow = numbersBelow(times(prime(), 7).get(), random);
  const std::vector<Number> numbers = numbersBelow(powerOfTwo(256).get(), random);
  const auto any = [&random](const std::vector<Number>& from) {
    return from[random.word() % from.size()].get();
  };
  for (size_t first = 0; first < 400; first++) {
    FieldInputs inputs;
    for (size_t lane = 0; lane < kLanes; lane++) {
      putNumber(inputs.a, lane, wide[(first + lane) % wide.size()].get());
      putNumber(inputs.b, lane, any(wide));
      putNumber(inputs.c, lane, narrow[(first + lane) % narrow.size()].get());
      putNumber(inputs.d, lane, any(narrow));
      putNumber(inputs.number, lane, numbers[(first + lane) % numbers.size()].get());
    }
    const FieldResults results = computeInField(inputs);
    for (size_t lane = 0; lane < kLanes; lane++) {
      checkResults(inputs, results, lane);
    }
  }
}

#endif
