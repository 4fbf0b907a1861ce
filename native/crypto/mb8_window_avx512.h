// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/mb8_limbs_avx512.h"

// Scalars in eight lanes as signed digits. Included only by files that are compiled for AVX-512.

namespace weft::crypto {

/// One digit of each lane's scalar.
struct Digit {
  __m512i magnitude;  ///< 0 to 2^(Width-1).
  __mmask8 negative;  ///< May be set for 0 too.
};

/// `count` bits of `a`, normal, from bit `at` on. Bits above the limbs are 0.
[[gnu::always_inline]] inline __m512i bitsAt(const Limbs& a, int at, int count) {
  const int limb = at / kLimbBits;
  const int offset = at % kLimbBits;
  __m512i bits = _mm512_srl_epi64(a.v[limb], _mm_cvtsi32_si128(offset));
  if (offset + count > kLimbBits && limb < 4) {
    bits = _mm512_or_si512(bits,
                           _mm512_sll_epi64(a.v[limb + 1], _mm_cvtsi32_si128(kLimbBits - offset)));
  }
  return _mm512_and_si512(bits, everyLane((uint64_t{1} << count) - 1));
}

/// The digit of 2^at, a multiple of Width, where `a` is normal, below 2^256, and the sum of its
/// digits times their powers (Booth 1951, with windows of Width bits). Branches and addresses
/// depend on `at` alone.
template <int Width>
[[gnu::always_inline]] inline Digit digitAt(const Limbs& a, int at) {
  // The highest bit of the window below counts here, as one more.
  const __m512i bits =
      at == 0 ? _mm512_slli_epi64(bitsAt(a, 0, Width), 1) : bitsAt(a, at - 1, Width + 1);
  const __m512i rounded = _mm512_srli_epi64(_mm512_add_epi64(bits, everyLane(1)), 1);
  const __mmask8 negative = _mm512_test_epi64_mask(bits, everyLane(uint64_t{1} << Width));
  return {_mm512_mask_sub_epi64(rounded, negative, everyLane(uint64_t{1} << Width), rounded),
          negative};
}

}  // namespace weft::crypto
