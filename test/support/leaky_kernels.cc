// SPDX-License-Identifier: Apache-2.0
// What the gate on the disassembly must find, and, in fine(), what it must let pass. Compiled as
// kernels are; never run.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

extern "C" {

void touch(uint64_t);

void fine(uint64_t* out, const uint64_t* secrets, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint64_t product = secrets[i];
    for (int turn = 0; turn < 300; turn++) {
      product = product * product + secrets[i];
    }
    const __m512i lanes = _mm512_set1_epi64(static_cast<int64_t>(product));
    const __mmask8 odd = _mm512_test_epi64_mask(lanes, _mm512_set1_epi64(1));
    _mm512_mask_storeu_epi64(out + 8 * i, odd, lanes);
    touch(i);
  }
}

void branchOnBit(const uint64_t* secret) {
  if ((secret[0] & 1) != 0) {
    touch(1);
  }
}

void branchOnMask(const uint64_t* secret) {
  const __m512i lanes = _mm512_loadu_si512(secret);
  if (_mm512_test_epi64_mask(lanes, lanes) != 0) {
    touch(2);
  }
}

void branchOnLane(const uint64_t* secret) {
  const __m512i lanes = _mm512_loadu_si512(secret);
  if (_mm_cvtsi128_si64(_mm512_castsi512_si128(lanes)) < 0) {
    touch(3);
  }
}

void loopBySecret(const uint64_t* secret) {
  for (uint64_t i = 0; i < secret[3]; i++) {
    touch(i);
  }
}

void gathers(const uint64_t* secret, const uint64_t* table, uint64_t* out) {
  const __m512i index = _mm512_loadu_si512(secret);
  const __m512i zero = _mm512_setzero_si512();
  _mm512_storeu_si512(out, _mm512_mask_i64gather_epi64(zero, 0xFF, index, table, 8));
}

void divides(const uint64_t* secret, uint64_t* out) {
  *out = secret[0] / secret[1];
}

void jumpsByTable(const uint64_t* secret, void (*const* functions)()) {
  functions[secret[0] & 3]();
  touch(4);
}

}  // extern "C"
