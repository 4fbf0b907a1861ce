// SPDX-License-Identifier: Apache-2.0
#include "crypto/mb8_limbs_avx512.h"
#include "crypto/mb8_p256_comb_table.h"
#include "crypto/mb8_p256_xyzz_avx512.h"

// How the table of multiples of the base point is computed: eight windows at a time, one in each
// lane. Nothing here is secret.

namespace weft::crypto::p256 {
namespace {

constexpr uint64_t kBaseX[5] = {0x30d418a9143c1, 0xc4fedb60179e7, 0x62251075ba95f, 0x5c669fb732b77,
                                0x08905f76b5375};
constexpr uint64_t kBaseY[5] = {0x5357ce95560a8, 0x43a19e45cddf2, 0x21f3258b4ab8e, 0xd8552e88688dd,
                                0x0571ff18a5885};

/// Writes `point` as that entry of the windows from `window` on, one from each lane.
void store(CombTable& table, size_t window, size_t entry, const AffinePoint& point) {
  const Limbs coordinates[2] = {canonical(point.x), canonical(point.y)};
  for (size_t limb = 0; limb < 10; ++limb) {
    alignas(64) uint64_t lanes[kLanes];
    _mm512_store_si512(lanes, coordinates[limb / 5].v[limb % 5]);
    for (size_t lane = 0; lane < kLanes && window + lane < kCombWindows; ++lane) {
      const uint64_t tag = limb == 0 ? (window + lane) * kCombEntries + entry : 0;
      table.limbs[window + lane][limb][entry] = lanes[lane] | tag << kLimbBits;
    }
  }
}

/// The odd multiples of `base` up to the 63rd, as the entries of the windows from `window` on.
void fillWindows(CombTable& table, size_t window, const XyzzPoint& base) {
  const XyzzPoint twice = doubled(base);
  const AffinePoint step = toAffine(twice, inverse(twice.zzz));
  XyzzPoint multiples[kCombEntries];
  // products[i] is that of zzz of all multiples up to number i: one inversion does for all of
  // them (Montgomery's trick).
  Fe<2> products[kCombEntries];
  multiples[0] = base;
  products[0] = base.zzz;
  for (size_t i = 1; i < kCombEntries; ++i) {
    multiples[i] = multiples[i - 1];
    Fe<4> unused;
    addAffine(multiples[i], unused, step.x, step.y, 0);
    products[i] = carry(products[i - 1] * multiples[i].zzz);
  }
  Fe<2> rest = inverse(products[kCombEntries - 1]);
  for (size_t i = kCombEntries - 1; i > 0; --i) {
    store(table, window, i, toAffine(multiples[i], carry(rest * products[i - 1])));
    rest = carry(rest * multiples[i].zzz);
  }
  store(table, window, 0, toAffine(multiples[0], rest));
}

/// `point` doubled, in each lane as often as `times` says and at most `timesMax` times.
XyzzPoint doubledTimes(XyzzPoint point, __m512i times, size_t timesMax) {
  for (size_t i = 0; i < timesMax; ++i) {
    const __mmask8 more = _mm512_cmpgt_epu64_mask(times, everyLane(i));
    point = choose(more, doubled(point), point);
  }
  return point;
}

CombTable computedTable() {
  CombTable table;
  const __m512i lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i bits = _mm512_mullox_epi64(lanes, everyLane(kCombBits));
  const AffinePoint base = {constant(kBaseX), constant(kBaseY)};
  XyzzPoint point = doubledTimes(xyzzOf(base), bits, kCombBits * (kLanes - 1));
  for (size_t window = 0; window < kCombWindows; window += kLanes) {
    fillWindows(table, window, point);
    point = doubledTimes(point, everyLane(kCombBits * kLanes), kCombBits * kLanes);
  }
  return table;
}

}  // namespace

const CombTable& combTable() {
  // Not const: a test spoils it, to see that this is noticed.
  static CombTable table = computedTable();
  return table;
}

}  // namespace weft::crypto::p256
