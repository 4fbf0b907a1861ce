// SPDX-License-Identifier: Apache-2.0
#pragma once

// gcc 12 calls what its own intrinsics leave undefined on purpose uninitialized (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstddef>
#include <cstdint>

#include "crypto/mb8.h"

// Included only by files that are compiled for AVX-512.

namespace weft::crypto {

/// Eight numbers, one in each 64-bit lane, as five limbs of 52 bits, the lowest first. Normal: each
/// limb is below 2^52, which is what a multiplication takes. The type says nothing of a modulus.
struct Limbs {
  __m512i v[5];
};

constexpr int kLimbBits = 52;
constexpr uint64_t kLimbMask = (uint64_t{1} << kLimbBits) - 1;

/// Where operations have their numbers: one pointer a lane.
using Sources = const Bytes32* const[kLanes];

inline __m512i everyLane(uint64_t value) {
  return _mm512_set1_epi64(static_cast<int64_t>(value));
}

/// The same constant in all lanes.
inline Limbs limbsOf(const uint64_t (&value)[5]) {
  return {{everyLane(value[0]), everyLane(value[1]), everyLane(value[2]), everyLane(value[3]),
           everyLane(value[4])}};
}

/// `a` in the lanes of `mask`, else `b`.
inline Limbs select(__mmask8 mask, const Limbs& a, const Limbs& b) {
  Limbs out;
  for (int i = 0; i < 5; ++i) {
    out.v[i] = _mm512_mask_blend_epi64(mask, b.v[i], a.v[i]);
  }
  return out;
}

/// Normal limbs of a number whose limbs are signed and below 2^63 in amount, and which is not
/// negative as a whole. What exceeds 52 bits in the highest limb stays there.
inline Limbs carried(const Limbs& a) {
  const __m512i mask = everyLane(kLimbMask);
  Limbs out = a;
  for (int i = 0; i < 4; ++i) {
    out.v[i + 1] = _mm512_add_epi64(out.v[i + 1], _mm512_srai_epi64(out.v[i], kLimbBits));
    out.v[i] = _mm512_and_si512(out.v[i], mask);
  }
  return out;
}

/// `a - b`, normal, in `out`; the lanes in which it is negative as the result, where `out` is of no
/// use. Both are normal.
inline __mmask8 subtract(Limbs& out, const Limbs& a, const Limbs& b) {
  for (int i = 0; i < 5; ++i) {
    out.v[i] = _mm512_sub_epi64(a.v[i], b.v[i]);
  }
  out = carried(out);
  return _mm512_movepi64_mask(out.v[4]);
}

/// `a` where it is below `modulus`, else `a - modulus`. Both are normal.
inline Limbs subtractOnce(const Limbs& a, const Limbs& modulus) {
  Limbs less;
  const __mmask8 below = subtract(less, a, modulus);
  return select(below, a, less);
}

/// The lanes in which all limbs are 0.
inline __mmask8 isZero(const Limbs& a) {
  const __m512i any = _mm512_or_si512(_mm512_or_si512(_mm512_or_si512(a.v[0], a.v[1]), a.v[2]),
                                      _mm512_or_si512(a.v[3], a.v[4]));
  return _mm512_testn_epi64_mask(any, any);
}

/// The lanes in which both have the same limbs.
inline __mmask8 isEqual(const Limbs& a, const Limbs& b) {
  Limbs difference;
  for (int i = 0; i < 5; ++i) {
    difference.v[i] = _mm512_xor_si512(a.v[i], b.v[i]);
  }
  return isZero(difference);
}

namespace transposition {

// Which quadwords of two registers stand together: those of the even and of the odd 128 bits.
inline __m512i evenPairs() {
  return _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
}
inline __m512i oddPairs() {
  return _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
}

/// The bytes of each quadword in the other order.
inline __m512i swapBytes(__m512i a) {
  const __m128i order = _mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
  return _mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(order));
}

/// The numbers of lanes `low` and `low + 4`, in the halves of one register.
inline __m512i loadTwo(const Sources& from, size_t low) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from[low]->data()));
  const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from[low + 4]->data()));
  return swapBytes(_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1));
}

}  // namespace transposition

/// Eight big-endian numbers as normal limbs. They need not be different objects.
inline Limbs loadBigEndian(const Sources& from) {
  using namespace transposition;
  const __m512i z0 = loadTwo(from, 0);
  const __m512i z1 = loadTwo(from, 1);
  const __m512i z2 = loadTwo(from, 2);
  const __m512i z3 = loadTwo(from, 3);
  const __m512i t0 = _mm512_unpacklo_epi64(z0, z1);
  const __m512i t1 = _mm512_unpackhi_epi64(z0, z1);
  const __m512i t2 = _mm512_unpacklo_epi64(z2, z3);
  const __m512i t3 = _mm512_unpackhi_epi64(z2, z3);
  // Words of 64 bits, the highest first, as they stand in memory.
  const __m512i w3 = _mm512_permutex2var_epi64(t0, evenPairs(), t2);
  const __m512i w2 = _mm512_permutex2var_epi64(t1, evenPairs(), t3);
  const __m512i w1 = _mm512_permutex2var_epi64(t0, oddPairs(), t2);
  const __m512i w0 = _mm512_permutex2var_epi64(t1, oddPairs(), t3);
  const __m512i mask = everyLane(kLimbMask);
  return {{_mm512_and_si512(w0, mask), _mm512_and_si512(_mm512_shrdi_epi64(w0, w1, 52), mask),
           _mm512_and_si512(_mm512_shrdi_epi64(w1, w2, 40), mask),
           _mm512_and_si512(_mm512_shrdi_epi64(w2, w3, 28), mask), _mm512_srli_epi64(w3, 16)}};
}

/// The big-endian bytes of `a`, which is normal and below 2^256: those of lane i to `to[i]`, for
/// the first `count` lanes. They are different objects.
inline void storeBigEndian(const Limbs& a, Bytes32* const (&to)[kLanes], size_t count) {
  using namespace transposition;
  const __m512i w0 = _mm512_or_si512(a.v[0], _mm512_slli_epi64(a.v[1], 52));
  const __m512i w1 = _mm512_or_si512(_mm512_srli_epi64(a.v[1], 12), _mm512_slli_epi64(a.v[2], 40));
  const __m512i w2 = _mm512_or_si512(_mm512_srli_epi64(a.v[2], 24), _mm512_slli_epi64(a.v[3], 28));
  const __m512i w3 = _mm512_or_si512(_mm512_srli_epi64(a.v[3], 36), _mm512_slli_epi64(a.v[4], 16));
  const __m512i t0 = _mm512_permutex2var_epi64(w3, evenPairs(), w1);
  const __m512i t1 = _mm512_permutex2var_epi64(w2, evenPairs(), w0);
  const __m512i t2 = _mm512_permutex2var_epi64(w3, oddPairs(), w1);
  const __m512i t3 = _mm512_permutex2var_epi64(w2, oddPairs(), w0);
  const __m512i z[4] = {_mm512_unpacklo_epi64(t0, t1), _mm512_unpackhi_epi64(t0, t1),
                        _mm512_unpacklo_epi64(t2, t3), _mm512_unpackhi_epi64(t2, t3)};
  for (size_t lane = 0; lane < count; ++lane) {
    const __m512i swapped = swapBytes(z[lane % 4]);
    const __m256i bytes =
        lane < 4 ? _mm512_castsi512_si256(swapped) : _mm512_extracti64x4_epi64(swapped, 1);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to[lane]->data()), bytes);
  }
}

}  // namespace weft::crypto
