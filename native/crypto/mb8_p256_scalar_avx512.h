// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/mb8_limbs_avx512.h"

// Numbers modulo n, the order of P-256 (SP 800-186 section 3.2.1.3), in eight lanes. Included only
// by files that are compiled for AVX-512. Nothing branches on, or addresses by, a number.
//
// Multiplication is Montgomery's (HAC 14.36) with R = 2^260, and leaves out the last subtraction:
// 4n < R makes that harmless ("almost Montgomery"). Unless it says more, a function takes normal
// limbs of numbers below 2^258 and gives normal limbs of a number below 2^257.

namespace weft::crypto::order {

constexpr uint64_t kN[5] = {0x9cac2fc632551, 0xada7179e84f3b, 0xfffffffbce6fa, 0x0000fffffffff,
                            0x0ffffffff0000};
/// -1/n mod 2^52.
constexpr uint64_t kMinusInverse = 0x1c8aaee00bc4f;
/// R mod n, which is 1 in Montgomery's form.
constexpr uint64_t kOne[5] = {0x353d039cdaaf0, 0x258e8617b0c46, 0x0000004319055, 0xfff0000000000,
                              0x00000000fffff};
/// R^2 mod n.
constexpr uint64_t kSquareOfR[5] = {0x5cc0dea6dc3ba, 0x192a067d8a084, 0xbec59615571bb,
                                    0x1fc245b2392b6, 0x0e12d9559d956};

/// `a * b / R`, below 2n where the product is below 2^515. Where one is below n and the other below
/// 2^258 it is below 5n/4.
[[gnu::always_inline]] inline Limbs mul(const Limbs& a, const Limbs& b) {
  const __m512i zero = _mm512_setzero_si512();
  const __m512i k0 = everyLane(kMinusInverse);
  __m512i t[5] = {zero, zero, zero, zero, zero};
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    // High halves are summed apart from low ones, so that no chain of additions is long.
    __m512i high[5];
#pragma GCC unroll 5
    for (int j = 0; j < 5; ++j) {
      t[j] = _mm512_madd52lo_epu64(t[j], a.v[j], b.v[i]);
      high[j] = _mm512_madd52hi_epu64(zero, a.v[j], b.v[i]);
    }
    const __m512i m = _mm512_madd52lo_epu64(zero, t[0], k0);
#pragma GCC unroll 5
    for (int j = 0; j < 5; ++j) {
      t[j] = _mm512_madd52lo_epu64(t[j], m, everyLane(kN[j]));
      high[j] = _mm512_madd52hi_epu64(high[j], m, everyLane(kN[j]));
    }
    const __m512i carry = _mm512_srli_epi64(t[0], kLimbBits);
    t[0] = _mm512_add_epi64(_mm512_add_epi64(t[1], carry), high[0]);
    t[1] = _mm512_add_epi64(t[2], high[1]);
    t[2] = _mm512_add_epi64(t[3], high[2]);
    t[3] = _mm512_add_epi64(t[4], high[3]);
    t[4] = high[4];
  }
  return carried({{t[0], t[1], t[2], t[3], t[4]}});
}

/// `a * a / R`, like mul().
[[gnu::always_inline]] inline Limbs sqr(const Limbs& a) {
  const __m512i zero = _mm512_setzero_si512();
  const __m512i k0 = everyLane(kMinusInverse);
  __m512i t[10] = {zero, zero, zero, zero, zero, zero, zero, zero, zero, zero};
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
#pragma GCC unroll 5
    for (int j = i + 1; j < 5; ++j) {
      t[i + j] = _mm512_madd52lo_epu64(t[i + j], a.v[i], a.v[j]);
      t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], a.v[i], a.v[j]);
    }
  }
  // Products of two different limbs come twice. They are doubled here: a doubled limb may have 53
  // bits.
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    t[2 * i] = _mm512_madd52lo_epu64(_mm512_add_epi64(t[2 * i], t[2 * i]), a.v[i], a.v[i]);
    t[2 * i + 1] =
        _mm512_madd52hi_epu64(_mm512_add_epi64(t[2 * i + 1], t[2 * i + 1]), a.v[i], a.v[i]);
  }
#pragma GCC unroll 5
  for (int i = 0; i < 5; ++i) {
    const __m512i m = _mm512_madd52lo_epu64(zero, t[i], k0);
#pragma GCC unroll 5
    for (int j = 0; j < 5; ++j) {
      t[i + j] = _mm512_madd52lo_epu64(t[i + j], m, everyLane(kN[j]));
      t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], m, everyLane(kN[j]));
    }
    t[i + 1] = _mm512_add_epi64(t[i + 1], _mm512_srli_epi64(t[i], kLimbBits));
  }
  return carried({{t[5], t[6], t[7], t[8], t[9]}});
}

/// `a + b`, which are below 2^257 each; below 2^258.
inline Limbs add(const Limbs& a, const Limbs& b) {
  Limbs out;
  for (int i = 0; i < 5; ++i) {
    out.v[i] = _mm512_add_epi64(a.v[i], b.v[i]);
  }
  return carried(out);
}

/// The number in [0, n-1] that is `a` mod n.
inline Limbs reduced(const Limbs& a) {
  return subtractOnce(mul(a, limbsOf(kOne)), limbsOf(kN));
}

/// `a * R`: into Montgomery's form. Below 5n/4.
inline Limbs toMontgomery(const Limbs& a) {
  return mul(a, limbsOf(kSquareOfR));
}

/// `a / R` in [0, n-1]: out of Montgomery's form.
inline Limbs fromMontgomery(const Limbs& a) {
  const Limbs one = {{everyLane(1), everyLane(0), everyLane(0), everyLane(0), everyLane(0)}};
  return subtractOnce(mul(a, one), limbsOf(kN));
}

/// The lanes in which `a`, normal and below 2^260, is in [1, n-1].
inline __mmask8 inRange(const Limbs& a) {
  Limbs unused;
  const __mmask8 below = subtract(unused, a, limbsOf(kN));
  return static_cast<__mmask8>(below & ~isZero(a));
}

/// One part of an exponent: so many squarings, then a multiplication with that power of the base.
struct ExponentWindow {
  uint8_t squarings;
  uint8_t power;  ///< Odd, at most 15.
};

/// The lower 128 bits of n-2, 0xbce6faada7179e84f3b9cac2fc63254f, in sliding windows of 4 bits
/// (HAC 14.85).
constexpr ExponentWindow kLowerWindows[27] = {
    {4, 11}, {2, 3}, {5, 7},  {6, 13}, {4, 15}, {4, 5}, {5, 11}, {5, 13}, {5, 7},
    {7, 11}, {2, 3}, {6, 15}, {2, 1},  {8, 9},  {3, 7}, {5, 7},  {4, 7},  {5, 7},
    {5, 5},  {3, 3}, {8, 11}, {4, 15}, {5, 3},  {5, 3}, {6, 9},  {4, 5},  {6, 15}};

/// Squarings of one inversion.
constexpr int kInversionSquarings = 255;

/// `a` squared `count` times, each time followed by a call of `beside`.
template <class Beside>
[[gnu::noinline]] void squareTimes(Limbs& a, int count, Beside& beside) {
  for (int i = 0; i < count; ++i) {
    a = sqr(a);
    beside();
  }
}

/// `a *= b`, not inlined: where code is shorter so.
[[gnu::noinline]] inline void mulInto(Limbs& a, const Limbs& b) {
  a = mul(a, b);
}

/// `1 / a` in Montgomery's form, as a is; 0 for 0. It is a^(n-2) (Fermat) by a chain that is the
/// same for all numbers. A squaring has to wait for the one before it, so the processor has room
/// for half as much again: `beside` is called after each of kInversionSquarings of them, to do
/// something else.
template <class Beside>
Limbs invertBeside(const Limbs& a, Beside& beside) {
  Limbs odd[8] = {a};  // odd[i] = a^(2i + 1)
  const Limbs square = sqr(a);
  for (int i = 1; i < 8; ++i) {
    odd[i] = odd[i - 1];
    mulInto(odd[i], square);
  }
  // The upper 128 bits are 32 ones, 32 zeros and 64 ones.
  Limbs ones = a;
  for (int length = 1; length < 32; length *= 2) {
    const Limbs half = ones;
    squareTimes(ones, length, beside);
    mulInto(ones, half);
  }
  Limbs out = ones;
  squareTimes(out, 64, beside);
  mulInto(out, ones);
  squareTimes(out, 32, beside);
  mulInto(out, ones);
  for (const ExponentWindow& window : kLowerWindows) {
    squareTimes(out, window.squarings, beside);
    mulInto(out, odd[window.power / 2]);
  }
  return out;
}

/// invertBeside() with nothing beside.
inline Limbs invert(const Limbs& a) {
  const auto nothing = [] {};
  return invertBeside(a, nothing);
}

}  // namespace weft::crypto::order
