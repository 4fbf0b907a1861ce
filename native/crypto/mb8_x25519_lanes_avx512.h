// SPDX-License-Identifier: Apache-2.0
// How X25519's numbers of 32 bytes come into lanes and out of them.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "crypto/mb8.h"
#include "crypto/mb8_x25519_field_avx512.h"

namespace weft::crypto::x25519 {

/// Puts a number into one lane. x86 has the byte order of RFC 7748.
WEFT_LANES void setLane(Words& words, size_t lane, const Bytes32& bytes) {
  for (size_t i = 0; i < 4; i++) {
    std::memcpy(&words.word[i][lane], reinterpret_cast<const char*>(&bytes) + 8 * i, 8);
  }
}

/// Takes the number of one lane out.
WEFT_LANES void getLane(const Words& words, size_t lane, Bytes32& bytes) {
  for (size_t i = 0; i < 4; i++) {
    std::memcpy(reinterpret_cast<char*>(&bytes) + 8 * i, &words.word[i][lane], 8);
  }
}

/// Makes private keys scalars: RFC 7748 section 5, decodeScalar25519.
WEFT_LANES void clamp(Words& scalars) {
  const Lanes low = _mm512_and_si512(wordOf(scalars, 0), all(~uint64_t{7}));
  const Lanes high = _mm512_and_si512(wordOf(scalars, 3), all(~uint64_t{0} >> 1));
  _mm512_store_si512(&scalars.word[0][0], low);
  _mm512_store_si512(&scalars.word[3][0], _mm512_or_si512(high, all(uint64_t{1} << 62)));
}

}  // namespace weft::crypto::x25519
