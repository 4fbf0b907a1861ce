// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/mb8_p256_field_avx512.h"

// Points as (x/zz, y/zzz): "XYZZ" coordinates of the Explicit-Formulas Database, of which an
// addition of an affine point takes the fewest multiplications, most of them independent of each
// other. Included only by files that are compiled for AVX-512.

namespace weft::crypto::p256 {

/// A point, where zz^3 = zzz^2. Never the point at infinity.
struct XyzzPoint {
  Fe<2> x;
  Fe<6> y;
  Fe<2> zz;
  Fe<2> zzz;
};

/// A point by its coordinates.
struct AffinePoint {
  Fe<2> x;
  Fe<2> y;
};

/// `a` negated in the lanes of `mask`.
template <int High>
[[gnu::always_inline]] inline Wide<High, High> negatedWhere(__mmask8 mask, const Wide<0, High>& a) {
  Wide<High, High> out;
  for (int i = 0; i < 5; ++i) {
    out.v[i] = _mm512_mask_sub_epi64(a.v[i], mask, _mm512_setzero_si512(), a.v[i]);
  }
  return out;
}

[[gnu::always_inline]] inline XyzzPoint choose(__mmask8 mask, const XyzzPoint& a,
                                               const XyzzPoint& b) {
  return {choose(mask, a.x, b.x), choose(mask, a.y, b.y), choose(mask, a.zz, b.zz),
          choose(mask, a.zzz, b.zzz)};
}

[[gnu::always_inline]] inline XyzzPoint xyzzOf(const AffinePoint& a) {
  const Fe<2> one = constant(kOne);
  return {a.x, a.y, one, one};
}

/// 2 * a ("mdbl-2008-s-1"). `a` is a point of the curve, so it is not its own negative.
[[gnu::always_inline]] inline XyzzPoint doubled(const AffinePoint& a) {
  const auto u = carry(shifted<1>(a.y));
  const Fe<2> v = carry(square(u));
  const Fe<2> w = carry(u * v);
  const Fe<2> s = carry(a.x * v);
  const Fe<2> xx = carry(square(a.x));
  const auto m = fold(xx + shifted<1>(xx) - shifted<1>(constant(kOne)) - constant(kOne));
  XyzzPoint out;
  out.x = fold(square(m) - shifted<1>(s));
  out.y = carry(m * carry(s - out.x) - w * a.y);
  out.zz = v;
  out.zzz = w;
  return out;
}

/// 2 * a ("dbl-2008-s-1").
inline XyzzPoint doubled(const XyzzPoint& a) {
  const auto u = fold(shifted<1>(a.y));
  const Fe<2> v = carry(square(u));
  const Fe<2> w = carry(u * v);
  const Fe<2> s = carry(a.x * v);
  const Fe<2> xx = carry(square(a.x));
  const Fe<2> zz2 = carry(square(a.zz));
  const auto difference = xx - zz2;
  const auto m = fold(difference + shifted<1>(difference));
  XyzzPoint out;
  out.x = fold(square(m) - shifted<1>(s));
  out.y = carry(m * carry(s - out.x) - w * a.y);
  out.zz = carry(v * a.zz);
  out.zzz = carry(w * a.zzz);
  return out;
}

/// Adds `(x, y)` to `sum`, or in the lanes of `negative` subtracts it ("madd-2008-s", 8 products
/// and 2 squares). The result is of no use where the two points are the same, which is told by
/// `sameX`'s being 0, or each other's negative.
template <int BoundX, int BoundY>
[[gnu::always_inline]] inline void addAffine(XyzzPoint& sum, Fe<4>& sameX, const Fe<BoundX>& x,
                                             const Fe<BoundY>& y, __mmask8 negative) {
  const auto p = carry(x * sum.zz - sum.x);
  const auto r = carry(negatedWhere(negative, y * sum.zzz) - sum.y);
  const Fe<2> pp = carry(square(p));
  const Fe<2> ppp = carry(p * pp);
  const Fe<2> q = carry(sum.x * pp);
  sum.x = fold(square(r) - ppp - shifted<1>(q));
  sum.y = carry(r * carry(q - sum.x) - sum.y * ppp);
  sum.zz = carry(sum.zz * pp);
  sum.zzz = carry(sum.zzz * ppp);
  sameX = p;
}

/// The coordinates of `point`, where `inverse` is 1 / point.zzz.
inline AffinePoint toAffine(const XyzzPoint& point, const Fe<2>& inverse) {
  // zz / zzz is 1 / z.
  const Fe<2> z = carry(point.zz * inverse);
  const Fe<2> zz = carry(square(z));
  return {carry(point.x * zz), carry(point.y * inverse)};
}

/// The lanes in which `point` satisfies the equation of the curve, y^2 = x^3 - 3x + b.
inline __mmask8 isOnCurve(const AffinePoint& point) {
  constexpr uint64_t kB[5] = {0xdf6229c4bddfd, 0xca8843090d89c, 0x212ed6acf005c, 0x83415a220abf7,
                              0x0c30061dd4874};
  const Fe<2> xx = carry(square(point.x));
  const auto x3 = shifted<1>(point.x) + point.x;
  return isZeroElement(square(point.y) - xx * point.x + x3 - constant(kB));
}

}  // namespace weft::crypto::p256
