// SPDX-License-Identifier: Apache-2.0
#include "crypto/mb8_p256_comb_avx512.h"

#include "crypto/mb8_p256_scalar_avx512.h"

// A scalar is written with 43 digits to the base 64, all of them odd and so none of them 0
// (Okeya and Takagi 2003): an odd scalar k has the digits
//
//   d_i = 2 * (bits 6i + 1 to 6i + 6 of k) - 63     for i < 42, and
//   d_42 = 2 * (the bits from 253 on) + 1.
//
// An even k gets n added first. The multiples are added from the lowest digit to the highest.
// The formulas for addition fail where both points have the same x. Before digit i the sum is s * G
// with |s| < 64^i <= |d_i * 64^i|, and up to i = 41 all of this is less than n: the points differ.
// At i = 42 the result is k * G, which is not infinity; and the two points are the same for one k
// alone, 30 * 2^252 - n. So the last addition chooses the doubled point where it must.

namespace weft::crypto::p256 {
namespace {

/// An entry of the table in each lane, tagged as there.
struct Entry {
  Fe<1> x;
  Fe<1> y;
};

/// The bits of an odd scalar that make a digit, and what the digits looked up add up to.
class Digits {
 public:
  /// Takes scalars in [1, n-1].
  explicit Digits(const Limbs& scalar) {
    const __mmask8 even = _mm512_testn_epi64_mask(scalar.v[0], everyLane(1));
    Limbs odd;
    for (int i = 0; i < 5; ++i) {
      odd.v[i] = _mm512_mask_add_epi64(scalar.v[i], even, scalar.v[i], everyLane(order::kN[i]));
    }
    odd = carried(odd);
    for (int i = 0; i < 5; ++i) {
      limbs_[i] = odd.v[i];
      sum_[i] = _mm512_setzero_si512();
    }
    limbs_[5] = _mm512_setzero_si512();
  }

  /// Bits 6 * window + 1 and up; six of them, or for the last window all there are, with the sixth
  /// set: its digit is positive.
  __m512i bits(size_t window) const {
    const size_t at = kCombBits * window + 1;
    const size_t limb = at / kLimbBits;
    const __m512i low = shiftRight(limbs_[limb], at % kLimbBits);
    const __m512i high = shiftLeft(limbs_[limb + 1], kLimbBits - at % kLimbBits);
    const __m512i six = _mm512_and_si512(_mm512_or_si512(low, high), everyLane(63));
    return window == kCombWindows - 1 ? _mm512_or_si512(six, everyLane(32)) : six;
  }

  /// Counts the digit of the entry with this tag.
  void count(size_t window, __m512i tag, __mmask8 negative) {
    const __m512i entry = _mm512_sub_epi64(tag, everyLane(kCombEntries * window));
    const __m512i digit = _mm512_add_epi64(_mm512_add_epi64(entry, entry), everyLane(1));
    const __m512i zero = _mm512_setzero_si512();
    const size_t at = kCombBits * window;
    __m512i& limb = sum_[at / kLimbBits];
    const __m512i weighted = shiftLeft(digit, at % kLimbBits);
    limb = _mm512_add_epi64(limb, _mm512_mask_sub_epi64(weighted, negative, zero, weighted));
  }

  /// The lanes in which what was counted is the scalar.
  __mmask8 isComplete() const {
    return isEqual(carried({{sum_[0], sum_[1], sum_[2], sum_[3], sum_[4]}}),
                   {{limbs_[0], limbs_[1], limbs_[2], limbs_[3], limbs_[4]}});
  }

 private:
  static __m512i shiftRight(__m512i a, size_t bits) {
    return _mm512_srl_epi64(a, _mm_cvtsi64_si128(static_cast<int64_t>(bits)));
  }
  static __m512i shiftLeft(__m512i a, size_t bits) {
    return _mm512_sll_epi64(a, _mm_cvtsi64_si128(static_cast<int64_t>(bits)));
  }

  __m512i limbs_[6];
  __m512i sum_[5];  ///< Signed: a digit's weight is less than 2^59.
};

/// The value number `index` of 32, in each lane its own, of which the lowest five bits count.
[[gnu::always_inline]] inline __m512i lookUp(const uint64_t (&values)[kCombEntries], __m512i index,
                                             __mmask8 upperHalf) {
  const auto at = [&](size_t i) { return _mm512_load_si512(&values[i]); };
  const __m512i lower = _mm512_permutex2var_epi64(at(0), index, at(8));
  const __m512i upper = _mm512_permutex2var_epi64(at(16), index, at(24));
  return _mm512_mask_blend_epi64(upperHalf, lower, upper);
}

/// The entries for the digits of `window`, counted, and the lanes in which a digit is negative.
[[gnu::always_inline]] inline Entry entriesOf(const CombTable& table, size_t window, Digits& digits,
                                              __mmask8& negative) {
  const __m512i bits = digits.bits(window);
  // 2 * bits - 63 is negative below 32, and of the amount 2 * (31 - bits) + 1.
  negative = _mm512_testn_epi64_mask(bits, everyLane(32));
  const __m512i index = _mm512_mask_xor_epi64(bits, negative, bits, everyLane(31));
  const __mmask8 upperHalf = _mm512_test_epi64_mask(index, everyLane(16));
  Entry out;
  for (size_t limb = 0; limb < 5; ++limb) {
    out.x.v[limb] = lookUp(table.limbs[window][limb], index, upperHalf);
    out.y.v[limb] = lookUp(table.limbs[window][limb + 5], index, upperHalf);
  }
  digits.count(window, _mm512_srli_epi64(out.x.v[0], kLimbBits), negative);
  return out;
}

/// The point of an entry.
AffinePoint pointOf(const Entry& entry, __mmask8 negative) {
  AffinePoint out;
  out.x = entry.x;
  out.x.v[0] = _mm512_and_si512(entry.x.v[0], everyLane(kLimbMask));
  out.y = choose(negative, negated(entry.y), entry.y);
  return out;
}

/// Adds for the last digit, which may be the sum itself.
void addLast(XyzzPoint& sum, const Entry& entry, __mmask8 negative) {
  const XyzzPoint twice = doubled(pointOf(entry, negative));
  Fe<4> sameX;
  addAffine(sum, sameX, entry.x, entry.y, negative);
  sum = choose(isZeroElement(sameX), twice, sum);
}

}  // namespace

[[gnu::noinline]] BaseMultiple multiplyBase(const Limbs& scalar) {
  const CombTable& table = combTable();
  Digits digits(scalar);
  __mmask8 negative;
  Entry entry = entriesOf(table, 0, digits, negative);
  XyzzPoint sum = xyzzOf(pointOf(entry, negative));
  for (size_t window = 1; window < kCombWindows - 1; ++window) {
    entry = entriesOf(table, window, digits, negative);
    Fe<4> unused;
    addAffine(sum, unused, entry.x, entry.y, negative);
  }
  entry = entriesOf(table, kCombWindows - 1, digits, negative);
  addLast(sum, entry, negative);
  return {sum, digits.isComplete()};
}

}  // namespace weft::crypto::p256
