// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "crypto/mb8_limbs_avx512.h"

// The field of P-256 (SP 800-186 section 3.2.1.3) in eight lanes: integers modulo
// p = 2^256 - 2^224 + 2^192 + 2^96 - 1, in Montgomery's form with R = 2^260.
//
// Nothing is reduced further than the next operation needs, and the types carry the bounds: what
// might grow out of its limbs does not compile. No branch and no address depends on a value.
// Included only by files that are compiled for AVX-512.

namespace weft::crypto::p256 {

/// A number before its carries: limbs are signed and less than (Low + High) * 2^57 in amount, the
/// whole is -Low * p at least and High * p at most. Sums and differences are made of these.
template <int Low, int High>
struct Wide : Limbs {
  static_assert(Low >= 0 && High >= 0 && Low + High <= 32);
};

/// A number that can be multiplied: normal limbs, the whole Bound * p at most. Several stand for
/// the same element of the field.
template <int Bound>
struct Fe : Wide<0, Bound> {
  static_assert(Bound >= 1 && Bound <= 16);  // 16 * p < 2^260.

  Fe() = default;
  /// The caller knows that `limbs` keep the bound.
  explicit Fe(const Limbs& limbs) { static_cast<Limbs&>(*this) = limbs; }
  /// What keeps a lower bound keeps this one.
  template <int Lower>
  requires(Lower < Bound) Fe(const Fe<Lower>& other) : Fe(static_cast<const Limbs&>(other)) {}
};

constexpr uint64_t kP[5] = {0xfffffffffffff, 0xfffffffffff, 0, 0x1000000000, 0xffffffff0000};
/// R modulo p: the element 1.
constexpr uint64_t kOne[5] = {0x10, 0xf000000000000, 0xfffffffffffff, 0xffeffffffffff, 0xfffff};
/// The square of R modulo p.
constexpr uint64_t kRSquared[5] = {0x300, 0xffffffff00000, 0xffffefffffffb, 0xfdfffffffffff,
                                   0x4ffffff};

/// The same element, given below p, in all lanes.
[[gnu::always_inline]] inline Fe<1> constant(const uint64_t (&limbs)[5]) {
  return Fe<1>(limbsOf(limbs));
}

template <int LowA, int HighA, int LowB, int HighB>
[[gnu::always_inline]] inline auto operator+(const Wide<LowA, HighA>& a,
                                             const Wide<LowB, HighB>& b) {
  Wide<LowA + LowB, HighA + HighB> out;
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    out.v[i] = _mm512_add_epi64(a.v[i], b.v[i]);
  }
  return out;
}

template <int LowA, int HighA, int LowB, int HighB>
[[gnu::always_inline]] inline auto operator-(const Wide<LowA, HighA>& a,
                                             const Wide<LowB, HighB>& b) {
  Wide<LowA + HighB, HighA + LowB> out;
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    out.v[i] = _mm512_sub_epi64(a.v[i], b.v[i]);
  }
  return out;
}

/// `a` times 2^Shift.
template <int Shift, int Low, int High>
[[gnu::always_inline]] inline auto shifted(const Wide<Low, High>& a) {
  Wide<(Low << Shift), (High << Shift)> out;
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    out.v[i] = _mm512_slli_epi64(a.v[i], Shift);
  }
  return out;
}

namespace internal {

/// Moves what exceeds 52 bits of each limb but the highest one limb up.
[[gnu::always_inline]] inline Limbs propagate(const Limbs& a) {
  const __m512i mask = everyLane(kLimbMask);
  Limbs out = a;
#pragma GCC unroll 5
  for (int i = 0; i < 4; ++i) {
    out.v[i + 1] = _mm512_add_epi64(out.v[i + 1], _mm512_srai_epi64(out.v[i], kLimbBits));
    out.v[i] = _mm512_and_si512(out.v[i], mask);
  }
  return out;
}

/// One step of Montgomery's reduction at column `i`: adds m * (p + 1), m being the low 52 bits of
/// the column, and moves the rest of the column one up. As p is -1 modulo 2^52, adding m * p makes
/// those 52 bits 0, and what remains is m * (2^96 + 2^192 + 2^208 * (2^48 - 2^16)). The multiplier
/// takes m out of the column by itself.
[[gnu::always_inline]] inline void reduceColumn(__m512i (&column)[10], int i) {
  const __m512i m = column[i];
  const __m512i second = everyLane(uint64_t{1} << 44);
  const __m512i fourth = everyLane(uint64_t{1} << 36);
  const __m512i fifth = everyLane(kP[4]);
  column[i + 1] = _mm512_add_epi64(column[i + 1], _mm512_srai_epi64(m, kLimbBits));
  column[i + 1] = _mm512_madd52lo_epu64(column[i + 1], m, second);
  column[i + 2] = _mm512_madd52hi_epu64(column[i + 2], m, second);
  column[i + 3] = _mm512_madd52lo_epu64(column[i + 3], m, fourth);
  column[i + 4] = _mm512_madd52hi_epu64(column[i + 4], m, fourth);
  column[i + 4] = _mm512_madd52lo_epu64(column[i + 4], m, fifth);
  column[i + 5] = _mm512_madd52hi_epu64(column[i + 5], m, fifth);
}

/// Adds a * b to the columns of a product.
[[gnu::always_inline]] inline void accumulate(__m512i (&column)[10], int at, __m512i a, __m512i b) {
  column[at] = _mm512_madd52lo_epu64(column[at], a, b);
  column[at + 1] = _mm512_madd52hi_epu64(column[at + 1], a, b);
}

/// A bound of x / R + p where x is `bound` * p^2 at most, in units of p.
constexpr int reducedBound(int bound) {
  return (bound + 15) / 16 + 1;
}

/// At most 10 halves of products, and 6 of reduction, meet in a column.
constexpr bool fitsWide(int products, int bounds) {
  return 10 * products + 6 <= 32 * bounds;
}

/// What reductions of the lower columns left.
template <int Low, int High>
[[gnu::always_inline]] inline Wide<Low, High> upperHalf(const __m512i (&column)[10]) {
  Wide<Low, High> out;
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    out.v[i] = column[i + 5];
  }
  return out;
}

}  // namespace internal

/// Products before their reduction, which sums of them have in common: columns of 52 bits, signed,
/// made of so many products; the whole is -Low * p^2 at least and High * p^2 at most.
template <int Low, int High, int Count>
struct Products {
  __m512i column[10];
};

/// a * b.
template <int A, int B>
[[gnu::always_inline]] inline Products<0, A * B, 1> unreduced(const Fe<A>& a, const Fe<B>& b) {
  Products<0, A * B, 1> out = {};
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
#pragma GCC unroll 5
    for (int j = 0; j < 5; ++j) {
      internal::accumulate(out.column, i + j, a.v[j], b.v[i]);
    }
  }
  return out;
}

/// a * a, with the products of different limbs computed once and doubled.
template <int A>
[[gnu::always_inline]] inline Products<0, A * A, 1> unreducedSquare(const Fe<A>& a) {
  Products<0, A * A, 1> out = {};
#pragma GCC unroll 5
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 5
    for (int j = i + 1; j < 5; ++j) {
      internal::accumulate(out.column, i + j, a.v[i], a.v[j]);
    }
  }
#pragma GCC unroll 9
  for (int i = 1; i < 9; ++i) {
    out.column[i] = _mm512_add_epi64(out.column[i], out.column[i]);
  }
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    internal::accumulate(out.column, 2 * i, a.v[i], a.v[i]);
  }
  return out;
}

/// a - b * 2^Shift.
template <int Shift, int LowA, int HighA, int CountA, int LowB, int HighB, int CountB>
[[gnu::always_inline]] inline auto minusShifted(const Products<LowA, HighA, CountA>& a,
                                                const Products<LowB, HighB, CountB>& b) {
  Products<LowA + (HighB << Shift), HighA + (LowB << Shift), CountA + (CountB << Shift)> out;
#pragma GCC unroll 10
  for (int i = 0; i < 10; ++i) {
    out.column[i] = _mm512_sub_epi64(a.column[i], _mm512_slli_epi64(b.column[i], Shift));
  }
  return out;
}

/// a / R (Montgomery 1985).
template <int Low, int High, int Count>
[[gnu::always_inline]] inline auto reduce(Products<Low, High, Count> a) {
  constexpr int kLow = (Low + 15) / 16;
  constexpr int kHigh = internal::reducedBound(High);
  static_assert(internal::fitsWide(Count, kLow + kHigh));
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    internal::reduceColumn(a.column, i);
  }
  return internal::upperHalf<kLow, kHigh>(a.column);
}

/// a * b / R.
template <int A, int B>
[[gnu::always_inline]] inline auto operator*(const Fe<A>& a, const Fe<B>& b) {
  // As reduce() of unreduced(), but each column is reduced as soon as it can be.
  constexpr int kHigh = internal::reducedBound(A * B);
  static_assert(internal::fitsWide(1, kHigh));
  __m512i column[10] = {};
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
#pragma GCC unroll 5
    for (int j = 0; j < 5; ++j) {
      internal::accumulate(column, i + j, a.v[j], b.v[i]);
    }
    internal::reduceColumn(column, i);
  }
  return internal::upperHalf<0, kHigh>(column);
}

/// a * a / R.
template <int A>
[[gnu::always_inline]] inline auto square(const Fe<A>& a) {
  return reduce(unreducedSquare(a));
}

/// `a` with its carries done, after as many p were added as make it positive for certain.
template <int Low, int High>
[[gnu::always_inline]] inline Fe<Low + High> carry(const Wide<Low, High>& a) {
  Limbs sum = a;
  if constexpr (Low > 0) {
#pragma GCC unroll 5
    for (int i = 0; i < 5; ++i) {
      if (kP[i] != 0) {
        sum.v[i] = _mm512_add_epi64(sum.v[i], everyLane(kP[i] * uint64_t{Low}));
      }
    }
  }
  return Fe<Low + High>(internal::propagate(sum));
}

/// `a` with its carries done, brought between 0 and p + 2^234, both excluded: so 0 comes out as p
/// itself. Takes more instructions than carry(), and any bounds.
template <int Low, int High>
[[gnu::always_inline]] inline Fe<2> fold(const Wide<Low, High>& a) {
  // The highest limb says, up to one, how many 2^256 there are. Some of it stays, so that what the
  // other limbs lack cannot make the result negative.
  const __m512i reserve = everyLane(uint64_t{1} << 24);
  const __m512i high = _mm512_sub_epi64(a.v[4], reserve);
  const __m512i q = _mm512_srai_epi64(high, 48);
  const __m512i low = _mm512_and_si512(high, everyLane((uint64_t{1} << 48) - 1));
  // Subtracts q * p = q * (2^256 - 2^224 + 2^192 + 2^96 - 1).
  Limbs less;
  less.v[0] = _mm512_add_epi64(a.v[0], q);
  less.v[1] = _mm512_sub_epi64(a.v[1], _mm512_slli_epi64(q, 44));
  less.v[2] = a.v[2];
  less.v[3] = _mm512_sub_epi64(a.v[3], _mm512_slli_epi64(q, 36));
  less.v[4] = _mm512_add_epi64(_mm512_add_epi64(low, reserve), _mm512_slli_epi64(q, 16));
  return Fe<2>(internal::propagate(less));
}

/// The one number below p that stands for the same element.
template <int Low, int High>
inline Fe<1> canonical(const Wide<Low, High>& a) {
  return Fe<1>(subtractOnce(fold(a), constant(kP)));
}

/// The lanes in which `a` is the element 0.
template <int Low, int High>
[[gnu::always_inline]] inline __mmask8 isZeroElement(const Wide<Low, High>& a) {
  return isEqual(fold(a), constant(kP));
}

/// -a.
template <int Bound>
[[gnu::always_inline]] inline Fe<Bound> negated(const Fe<Bound>& a) {
  return Fe<Bound>(carry(Wide<0, 0>{} - a));
}

/// `a` in the lanes of `mask`, else `b`.
template <int Bound>
[[gnu::always_inline]] inline Fe<Bound> choose(__mmask8 mask, const Fe<Bound>& a,
                                               const Fe<Bound>& b) {
  return Fe<Bound>(select(mask, a, b));
}

/// A number below 2^256 in Montgomery's form.
[[gnu::always_inline]] inline Fe<2> toMontgomery(const Limbs& number) {
  return carry(Fe<2>(number) * constant(kRSquared));
}

/// The number below p that `a` stands for.
template <int Bound>
inline Limbs fromMontgomery(const Fe<Bound>& a) {
  return canonical(a * constant({1, 0, 0, 0, 0}));
}

/// The lanes in which `number`, normal and below 2^256, is below p.
inline __mmask8 isBelowP(const Limbs& number) {
  Limbs difference;
  return subtract(difference, number, constant(kP));
}

/// a squared `times` times.
inline Fe<2> squaredTimes(Fe<2> a, int times) {
  for (int i = 0; i < times; ++i) {
    a = carry(square(a));
  }
  return a;
}

/// 1 / a, and 0 for 0: a to the power of p - 2 (Fermat), which is, in words of 32 bits,
/// ffffffff 00000001 00000000 00000000 00000000 ffffffff ffffffff fffffffd.
/// 255 squarings and 12 multiplications, whatever `a` is.
inline Fe<2> inverse(const Fe<2>& a) {
  // onesK is a to the power of 2^K - 1.
  const Fe<2> ones2 = carry(squaredTimes(a, 1) * a);
  const Fe<2> ones3 = carry(squaredTimes(ones2, 1) * a);
  const Fe<2> ones6 = carry(squaredTimes(ones3, 3) * ones3);
  const Fe<2> ones12 = carry(squaredTimes(ones6, 6) * ones6);
  const Fe<2> ones15 = carry(squaredTimes(ones12, 3) * ones3);
  const Fe<2> ones30 = carry(squaredTimes(ones15, 15) * ones15);
  const Fe<2> ones32 = carry(squaredTimes(ones30, 2) * ones2);
  Fe<2> power = carry(squaredTimes(ones32, 32) * a);
  power = carry(squaredTimes(power, 128) * ones32);
  power = carry(squaredTimes(power, 32) * ones32);
  power = carry(squaredTimes(power, 30) * ones30);
  return carry(squaredTimes(power, 2) * a);
}

}  // namespace weft::crypto::p256
