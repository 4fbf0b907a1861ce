// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/mb8_p256_field_avx512.h"

// Points of P-256, y^2 = x^3 - 3x + b, in eight lanes. Included only by files that are compiled for
// AVX-512.

namespace weft::crypto::p256 {

/// b, in Montgomery's form.
constexpr uint64_t kB[5] = {0xdf6229c4bddfd, 0xca8843090d89c, 0x212ed6acf005c, 0x83415a220abf7,
                            0xc30061dd4874};
/// 3, in Montgomery's form.
constexpr uint64_t kThree[5] = {0x30, 0xd000000000000, 0xfffffffffffff, 0xffcffffffffff, 0x2fffff};
/// The base point, in Montgomery's form.
constexpr uint64_t kGeneratorX[5] = {0x30d418a9143c1, 0xc4fedb60179e7, 0x62251075ba95f,
                                     0x5c669fb732b77, 0x8905f76b5375};
constexpr uint64_t kGeneratorY[5] = {0x5357ce95560a8, 0x43a19e45cddf2, 0x21f3258b4ab8e,
                                     0xd8552e88688dd, 0x571ff18a5885};

/// A point that is not infinity.
struct Affine {
  Fe<2> x;
  Fe<2> y;
};

/// The point (x / z^2, y / z^3); infinity where z is the element 0.
struct Jacobian {
  Fe<2> x;
  Fe<2> y;
  Fe<4> z;
};

/// What tells apart the cases that a sum does not cover.
struct Differences {
  Fe<2> x;  ///< The element 0 where both points have the same x; a multiple of it in no other case.
  Fe<4> y;  ///< The same of y, where x is the same.
};

[[gnu::always_inline]] inline Affine generator() {
  return {constant(kGeneratorX), constant(kGeneratorY)};
}

[[gnu::always_inline]] inline Jacobian toJacobian(const Affine& a) {
  return {a.x, a.y, constant(kOne)};
}

/// `a` in the lanes of `mask`, else `b`.
[[gnu::always_inline]] inline Jacobian choose(__mmask8 mask, const Jacobian& a, const Jacobian& b) {
  return {choose(mask, a.x, b.x), choose(mask, a.y, b.y), choose(mask, a.z, b.z)};
}

/// `y`, negated in the lanes of `mask`.
[[gnu::always_inline]] inline Fe<2> negatedWhere(__mmask8 mask, const Fe<2>& y) {
  return choose(mask, negated(y), y);
}

/// The lanes in which y^2 = x^3 - 3x + b.
inline __mmask8 isOnCurve(const Affine& a) {
  const Fe<2> xx = carry(square(a.x));
  const auto right = carry(xx - constant(kThree)) * a.x;
  return isZeroElement(square(a.y) - right - constant(kB));
}

/// 2a, for any `a`: infinity gives infinity ("dbl-2001-b" of the Explicit-Formulas Database, with
/// z3 = 2 y1 z1). 4 multiplications, 4 squarings.
[[gnu::always_inline]] inline Jacobian doubled(const Jacobian& a) {
  const auto delta = square(a.z);
  const auto gamma = carry(square(a.y));
  const auto yz = a.y * a.z;
  const auto slope = carry(a.x - delta) * carry(a.x + delta);
  const auto alpha = carry(slope + slope + slope);
  const auto beta4 = shifted<2>(a.x * gamma);
  Jacobian out;
  out.x = fold(square(alpha) - shifted<1>(beta4));
  out.y =
      fold(reduce(minusShifted<3>(unreduced(alpha, carry(beta4 - out.x)), unreducedSquare(gamma))));
  out.z = carry(yz + yz);
  return out;
}

namespace internal {

/// The end of both sums: u1 and s1 are the first point's x and y brought to the common denominator,
/// z is what the product of the z's and h make.
template <int Z>
[[gnu::always_inline]] inline Jacobian sumOf(const Fe<2>& u1, const Fe<2>& s1,
                                             const Differences& difference, const Fe<Z>& zz) {
  const Fe<2>& h = difference.x;
  const Fe<4>& r = difference.y;
  const Fe<2> hh = carry(square(h));
  const auto v = u1 * hh;
  const Fe<2> hhh = carry(h * hh);
  Jacobian out;
  out.z = carry(zz * h);
  out.x = fold(square(r) - hhh - shifted<1>(v));
  out.y = fold(reduce(minusShifted<0>(unreduced(r, carry(v - out.x)), unreduced(s1, hhh))));
  return out;
}

}  // namespace internal

/// a + b for points of which none is infinity, and which have different x ("add-1998-cmo-2" of the
/// Explicit-Formulas Database). Where x is the same, the result has z = 0, which is right for -a
/// alone. 12 multiplications, 4 squarings.
[[gnu::always_inline]] inline Jacobian sum(const Jacobian& a, const Jacobian& b,
                                           Differences& difference) {
  const Fe<2> zz1 = carry(square(a.z));
  const Fe<2> zz2 = carry(square(b.z));
  const Fe<2> zzz1 = carry(a.z * zz1);
  const Fe<2> zzz2 = carry(b.z * zz2);
  const Fe<2> u1 = carry(a.x * zz2);
  const Fe<2> s1 = carry(a.y * zzz2);
  difference.x = fold(b.x * zz1 - u1);
  difference.y = carry(b.y * zzz1 - s1);
  return internal::sumOf(u1, s1, difference, carry(a.z * b.z));
}

/// The same where b has z = 1. 8 multiplications, 3 squarings.
[[gnu::always_inline]] inline Jacobian sum(const Jacobian& a, const Affine& b,
                                           Differences& difference) {
  const Fe<2> zz1 = carry(square(a.z));
  const Fe<2> zzz1 = carry(a.z * zz1);
  difference.x = fold(b.x * zz1 - a.x);
  difference.y = carry(b.y * zzz1 - a.y);
  return internal::sumOf(a.x, a.y, difference, a.z);
}

/// x and y of a point that is not infinity; zeros for infinity.
inline Affine toAffine(const Jacobian& a) {
  const Fe<2> inverseZ = inverse(fold(a.z));
  const Fe<2> square = carry(p256::square(inverseZ));
  return {carry(a.x * square), carry(a.y * carry(square * inverseZ))};
}

}  // namespace weft::crypto::p256
