// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "crypto/mb8_limbs_avx512.h"

// Tables that are read by address, so not for what is secret. Included only by files that are
// compiled for AVX-512.

namespace weft::crypto {

/// What one lane has in up to 16 registers, side by side.
struct Row {
  __m512i low;
  __m512i high;
};

/// Eight rows of eight quadwords as columns. Doing it twice gives the rows again.
[[gnu::always_inline]] inline void transpose(const __m512i (&rows)[8], __m512i (&columns)[8]) {
  // Each 128 bits of `even` have two rows' quadwords of one even column.
  __m512i even[4];
  __m512i odd[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    even[i] = _mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]);
    odd[i] = _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]);
  }
  constexpr int kEven = 0x88;
  constexpr int kOdd = 0xdd;
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512i(&from)[4] = i == 0 ? even : odd;
    const __m512i a = _mm512_shuffle_i64x2(from[0], from[1], kEven);
    const __m512i b = _mm512_shuffle_i64x2(from[2], from[3], kEven);
    const __m512i c = _mm512_shuffle_i64x2(from[0], from[1], kOdd);
    const __m512i d = _mm512_shuffle_i64x2(from[2], from[3], kOdd);
    columns[i] = _mm512_shuffle_i64x2(a, b, kEven);
    columns[4 + i] = _mm512_shuffle_i64x2(a, b, kOdd);
    columns[2 + i] = _mm512_shuffle_i64x2(c, d, kEven);
    columns[6 + i] = _mm512_shuffle_i64x2(c, d, kOdd);
  }
}

/// Puts each lane of `low` and `high` into a row.
[[gnu::always_inline]] inline void storeRows(const __m512i (&low)[8], const __m512i (&high)[8],
                                             Row (&rows)[kLanes]) {
  __m512i lows[kLanes];
  __m512i highs[kLanes];
  transpose(low, lows);
  transpose(high, highs);
#pragma GCC unroll 8
  for (size_t lane = 0; lane < kLanes; ++lane) {
    rows[lane] = {lows[lane], highs[lane]};
  }
}

/// Takes each lane of `low` and `high` out of a row.
[[gnu::always_inline]] inline void loadRows(const Row* const (&rows)[kLanes], __m512i (&low)[8],
                                            __m512i (&high)[8]) {
  __m512i lows[kLanes];
  __m512i highs[kLanes];
#pragma GCC unroll 8
  for (size_t lane = 0; lane < kLanes; ++lane) {
    lows[lane] = rows[lane]->low;
    highs[lane] = rows[lane]->high;
  }
  transpose(lows, low);
  transpose(highs, high);
}

}  // namespace weft::crypto
