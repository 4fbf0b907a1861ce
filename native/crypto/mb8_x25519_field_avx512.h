// SPDX-License-Identifier: Apache-2.0
// Arithmetic modulo p = 2^255 - 19 in eight lanes. Radix 2^51: five limbs, of which each register
// holds one for all lanes. A product of two limbs is 2^52 * high + low, as vpmadd52 gives it, so a
// high half counts double at its place. Nothing here branches, or addresses memory, by a value.
//
// Two forms keep carries apart from products:
// - Field: each limb is below 2^51 + 2^15. What is multiplied has this form, as vpmadd52 reads the
//   low 52 bits of its factors.
// - Sum: each limb is below 2^61. Products have this form, and sums and differences of two.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

// What several files compile must not become one function that a file without AVX-512 gets.
#define WEFT_LANES [[gnu::always_inline]] static inline

namespace weft::crypto::x25519 {

using Lanes = __m512i;

constexpr size_t kLimbs = 5;
constexpr unsigned kLimbBits = 51;
constexpr uint64_t kLimbMask = (uint64_t{1} << kLimbBits) - 1;

/// An element of the field in each lane, ready to be multiplied.
struct Field {
  Lanes limb[kLimbs];
};

/// The same with limbs below 2^61, to be carried.
struct Sum {
  Lanes limb[kLimbs];
};

WEFT_LANES Lanes all(uint64_t value) {
  return _mm512_set1_epi64(static_cast<int64_t>(value));
}
WEFT_LANES Lanes plus(Lanes a, Lanes b) {
  return _mm512_add_epi64(a, b);
}
WEFT_LANES Lanes minus(Lanes a, Lanes b) {
  return _mm512_sub_epi64(a, b);
}
WEFT_LANES Lanes twice(Lanes a) {
  return _mm512_add_epi64(a, a);
}
WEFT_LANES Lanes addLow(Lanes sum, Lanes a, Lanes b) {
  return _mm512_madd52lo_epu64(sum, a, b);
}
WEFT_LANES Lanes addHigh(Lanes sum, Lanes a, Lanes b) {
  return _mm512_madd52hi_epu64(sum, a, b);
}
WEFT_LANES Lanes mulHigh(Lanes a, Lanes b) {
  return addHigh(_mm512_setzero_si512(), a, b);
}
// By operators, since gcc 12 warns of what its own header does for the intrinsics.
using LanesUnsigned = uint64_t __attribute__((vector_size(64)));
WEFT_LANES Lanes shiftedUp(Lanes a, unsigned bits) {
  return reinterpret_cast<Lanes>(reinterpret_cast<LanesUnsigned>(a) << bits);
}
WEFT_LANES Lanes shiftedDown(Lanes a, unsigned bits) {
  return reinterpret_cast<Lanes>(reinterpret_cast<LanesUnsigned>(a) >> bits);
}
/// 2^255 = 19, for a limb too wide for vpmadd52. Shifts and sums keep the multiplier's port free.
WEFT_LANES Lanes times19(Lanes a) {
  return plus(plus(a, twice(a)), shiftedUp(a, 4));
}

/// The element `value` in every lane; at most kLimbMask.
WEFT_LANES Field fieldOf(uint64_t value) {
  const Lanes zero = _mm512_setzero_si512();
  return {{all(value), zero, zero, zero, zero}};
}

/// One pass of carries, all limbs at once: a carry is below 2^10, 19 times that below 2^15.
WEFT_LANES Field carried(const Sum& a) {
  const Lanes mask = all(kLimbMask);
  Lanes carry[kLimbs];
  for (size_t i = 0; i < kLimbs; i++) {
    carry[i] = shiftedDown(a.limb[i], kLimbBits);
  }
  Field r;
  r.limb[0] = addLow(_mm512_and_si512(a.limb[0], mask), carry[4], all(19));
  for (size_t i = 1; i < kLimbs; i++) {
    r.limb[i] = plus(_mm512_and_si512(a.limb[i], mask), carry[i - 1]);
  }
  return r;
}

/// a + b, both Field or both products.
template <typename Form>
WEFT_LANES Sum added(const Form& a, const Form& b) {
  Sum r;
  for (size_t i = 0; i < kLimbs; i++) {
    r.limb[i] = plus(a.limb[i], b.limb[i]);
  }
  return r;
}

/// a - b of two products: 2^9 p is added, whose limbs exceed those of a product (below 2^59).
template <typename Form>
WEFT_LANES Sum subtracted(const Form& a, const Form& b) {
  const Lanes first = all((kLimbMask - 18) << 9);
  const Lanes other = all(kLimbMask << 9);
  Sum r;
  for (size_t i = 0; i < kLimbs; i++) {
    r.limb[i] = minus(plus(a.limb[i], i == 0 ? first : other), b.limb[i]);
  }
  return r;
}

/// a * b, limbs below 2^59. The upper limbs are summed first, times 19 they start the lower ones.
WEFT_LANES Sum product(const Field& a, const Field& b) {
  const Lanes* x = a.limb;
  const Lanes* y = b.limb;
  Lanes h5 = addHigh(addHigh(mulHigh(x[0], y[4]), x[1], y[3]), x[2], y[2]);
  h5 = addHigh(addHigh(h5, x[3], y[1]), x[4], y[0]);
  Lanes h6 = addHigh(addHigh(mulHigh(x[1], y[4]), x[2], y[3]), x[3], y[2]);
  h6 = addHigh(h6, x[4], y[1]);
  const Lanes h7 = addHigh(addHigh(mulHigh(x[2], y[4]), x[3], y[3]), x[4], y[2]);
  const Lanes h8 = addHigh(mulHigh(x[3], y[4]), x[4], y[3]);
  const Lanes h9 = mulHigh(x[4], y[4]);
  Lanes r5 = addLow(addLow(twice(h5), x[1], y[4]), x[2], y[3]);
  r5 = addLow(addLow(r5, x[3], y[2]), x[4], y[1]);
  const Lanes r6 = addLow(addLow(addLow(twice(h6), x[2], y[4]), x[3], y[3]), x[4], y[2]);
  const Lanes r7 = addLow(addLow(twice(h7), x[3], y[4]), x[4], y[3]);
  const Lanes r8 = addLow(twice(h8), x[4], y[4]);
  const Lanes r9 = twice(h9);

  const Lanes h1 = mulHigh(x[0], y[0]);
  const Lanes h2 = addHigh(mulHigh(x[0], y[1]), x[1], y[0]);
  const Lanes h3 = addHigh(addHigh(mulHigh(x[0], y[2]), x[1], y[1]), x[2], y[0]);
  Lanes h4 = addHigh(addHigh(mulHigh(x[0], y[3]), x[1], y[2]), x[2], y[1]);
  h4 = addHigh(h4, x[3], y[0]);
  Sum r;
  r.limb[0] = addLow(times19(r5), x[0], y[0]);
  r.limb[1] = addLow(addLow(plus(times19(r6), twice(h1)), x[0], y[1]), x[1], y[0]);
  Lanes r2 = addLow(addLow(plus(times19(r7), twice(h2)), x[0], y[2]), x[1], y[1]);
  r.limb[2] = addLow(r2, x[2], y[0]);
  Lanes r3 = addLow(addLow(plus(times19(r8), twice(h3)), x[0], y[3]), x[1], y[2]);
  r.limb[3] = addLow(addLow(r3, x[2], y[1]), x[3], y[0]);
  Lanes r4 = addLow(addLow(plus(times19(r9), twice(h4)), x[0], y[4]), x[1], y[3]);
  r.limb[4] = addLow(addLow(addLow(r4, x[2], y[2]), x[3], y[1]), x[4], y[0]);
  return r;
}

/// a^2, limbs below 2^59. What stands twice in a product is computed once and doubled; a factor
/// could not be doubled before, for want of a bit.
WEFT_LANES Sum squared(const Field& a) {
  const Lanes* x = a.limb;
  const Lanes h5 = addHigh(mulHigh(x[0], x[4]), x[1], x[3]);
  const Lanes h6 = addHigh(mulHigh(x[1], x[4]), x[2], x[3]);
  const Lanes h7 = mulHigh(x[2], x[4]);
  const Lanes h8 = mulHigh(x[3], x[4]);
  // An odd limb has the high half of a square, an even one the low half.
  const Lanes r5 = twice(addHigh(addLow(addLow(twice(h5), x[1], x[4]), x[2], x[3]), x[2], x[2]));
  const Lanes r6 = addLow(twice(addLow(twice(h6), x[2], x[4])), x[3], x[3]);
  const Lanes r7 = twice(addHigh(addLow(twice(h7), x[3], x[4]), x[3], x[3]));
  const Lanes r8 = addLow(twice(twice(h8)), x[4], x[4]);
  const Lanes r9 = twice(mulHigh(x[4], x[4]));

  const Lanes h2 = mulHigh(x[0], x[1]);
  const Lanes h3 = mulHigh(x[0], x[2]);
  const Lanes h4 = addHigh(mulHigh(x[0], x[3]), x[1], x[2]);
  const Lanes s1 = addHigh(addLow(_mm512_setzero_si512(), x[0], x[1]), x[0], x[0]);
  const Lanes s2 = addLow(twice(h2), x[0], x[2]);
  const Lanes s3 = addHigh(addLow(addLow(twice(h3), x[0], x[3]), x[1], x[2]), x[1], x[1]);
  const Lanes s4 = addLow(addLow(twice(h4), x[0], x[4]), x[1], x[3]);
  Sum r;
  r.limb[0] = addLow(times19(r5), x[0], x[0]);
  r.limb[1] = plus(times19(r6), twice(s1));
  r.limb[2] = addLow(plus(times19(r7), twice(s2)), x[1], x[1]);
  r.limb[3] = plus(times19(r8), twice(s3));
  r.limb[4] = addLow(plus(times19(r9), twice(s4)), x[2], x[2]);
  return r;
}

/// a + factor * b for a factor below 2^20, limbs below 2^53.
WEFT_LANES Sum addedTimes(const Field& a, uint64_t factor, const Field& b) {
  Lanes high[kLimbs];
  for (size_t i = 0; i < kLimbs; i++) {
    high[i] = mulHigh(b.limb[i], all(factor));
  }
  Sum r;
  r.limb[0] = addLow(addLow(a.limb[0], b.limb[0], all(factor)), high[4], all(38));
  for (size_t i = 1; i < kLimbs; i++) {
    r.limb[i] = plus(addLow(a.limb[i], b.limb[i], all(factor)), twice(high[i - 1]));
  }
  return r;
}

/// In the lanes of `mask` b, in the others a.
template <typename Form>
WEFT_LANES Form selected(__mmask8 mask, const Form& a, const Form& b) {
  Form r;
  for (size_t i = 0; i < kLimbs; i++) {
    r.limb[i] = _mm512_mask_blend_epi64(mask, a.limb[i], b.limb[i]);
  }
  return r;
}

WEFT_LANES Field times(const Field& a, const Field& b) {
  return carried(product(a, b));
}
WEFT_LANES Field square(const Field& a) {
  return carried(squared(a));
}

/// Eight numbers of 256 bits: word [i][lane] has the bits from 64 i on.
struct alignas(64) Words {
  uint64_t word[4][8];
};

WEFT_LANES Lanes wordOf(const Words& words, size_t i) {
  return _mm512_load_si512(&words.word[i][0]);
}

/// The numbers modulo 2^255.
WEFT_LANES Field fieldOf(const Words& words) {
  const Lanes mask = all(kLimbMask);
  const Lanes w0 = wordOf(words, 0);
  const Lanes w1 = wordOf(words, 1);
  const Lanes w2 = wordOf(words, 2);
  const Lanes w3 = wordOf(words, 3);
  Field r;
  r.limb[0] = _mm512_and_si512(w0, mask);
  // vpshrdq: the low 64 bits of two words after a shift to the right.
  r.limb[1] = _mm512_and_si512(_mm512_shrdi_epi64(w0, w1, 51), mask);
  r.limb[2] = _mm512_and_si512(_mm512_shrdi_epi64(w1, w2, 38), mask);
  r.limb[3] = _mm512_and_si512(_mm512_shrdi_epi64(w2, w3, 25), mask);
  r.limb[4] = _mm512_and_si512(shiftedDown(w3, 12), mask);
  return r;
}

/// The limbs of the one representative below p: all below 2^51.
WEFT_LANES Field canonical(const Field& a) {
  const Lanes mask = all(kLimbMask);
  Field r = carried(Sum{{a.limb[0], a.limb[1], a.limb[2], a.limb[3], a.limb[4]}});
  // Now the value is below 2p. It is p or more where adding 19 carries out of bit 255; then
  // adding 19 and leaving out that bit subtracts p.
  Lanes carry = all(19);
  for (size_t i = 0; i < kLimbs; i++) {
    carry = shiftedDown(plus(r.limb[i], carry), kLimbBits);
  }
  Lanes in = addLow(_mm512_setzero_si512(), carry, all(19));
  for (size_t i = 0; i < kLimbs; i++) {
    const Lanes sum = plus(r.limb[i], in);
    in = shiftedDown(sum, kLimbBits);
    r.limb[i] = _mm512_and_si512(sum, mask);
  }
  return r;
}

/// The canonical representatives as numbers.
WEFT_LANES void storeWords(const Field& a, Words& words) {
  const Field c = canonical(a);
  const Lanes* x = c.limb;
  const auto joined = [](Lanes low, unsigned down, Lanes high, unsigned up) {
    return _mm512_or_si512(shiftedDown(low, down), shiftedUp(high, up));
  };
  _mm512_store_si512(&words.word[0][0], joined(x[0], 0, x[1], 51));
  _mm512_store_si512(&words.word[1][0], joined(x[1], 13, x[2], 38));
  _mm512_store_si512(&words.word[2][0], joined(x[2], 26, x[3], 25));
  _mm512_store_si512(&words.word[3][0], joined(x[3], 39, x[4], 12));
}

WEFT_LANES Field squaredTimes(Field a, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    a = square(a);
  }
  return a;
}

/// 1/a, and 0 for 0: a^(p-2), p - 2 = 2^255 - 21. `aN` below is a^(2^N - 1).
[[gnu::noinline]] [[maybe_unused]] static Field inverse(const Field& a) {
  const Field squareOfA = square(a);
  const Field a9 = times(squaredTimes(squareOfA, 2), a);
  const Field a11 = times(a9, squareOfA);
  const Field ones5 = times(square(a11), a9);
  const Field ones10 = times(squaredTimes(ones5, 5), ones5);
  const Field ones20 = times(squaredTimes(ones10, 10), ones10);
  const Field ones40 = times(squaredTimes(ones20, 20), ones20);
  const Field ones50 = times(squaredTimes(ones40, 10), ones10);
  const Field ones100 = times(squaredTimes(ones50, 50), ones50);
  const Field ones200 = times(squaredTimes(ones100, 100), ones100);
  const Field ones250 = times(squaredTimes(ones200, 50), ones50);
  return times(squaredTimes(ones250, 5), a11);
}

}  // namespace weft::crypto::x25519
