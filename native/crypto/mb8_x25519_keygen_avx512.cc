// SPDX-License-Identifier: Apache-2.0
// Public keys by multiples of the base point on edwards25519, which RFC 7748 section 4.1 maps to
// curve25519. A scalar is 64 digits from -7 to 8 by powers of 16, and a table has the eight
// multiples of each power, so that nothing is doubled: 64 additions.
#include "crypto/mb8_avx512.h"
#include "crypto/mb8_wipe_avx512.h"
#include "crypto/mb8_x25519_field_avx512.h"
#include "crypto/mb8_x25519_lanes_avx512.h"
#include "crypto/wipe.h"

namespace weft::crypto::avx512 {
namespace {

using namespace x25519;

constexpr size_t kDigits = 64;
constexpr unsigned kDigitBits = 4;
/// The largest digit, and entries of the table for each place. One register holds eight numbers, so
/// that vpermq looks up without an address.
constexpr uint64_t kDigitMax = 8;

// RFC 8032 section 5.1: the base point B, x * y of it, and 2d of the curve. Lowest limb first.
constexpr uint64_t kBaseX[kLimbs] = {0x62d608f25d51a, 0x412a4b4f6592a, 0x75b7171a4b31d,
                                     0x1ff60527118fe, 0x216936d3cd6e5};
constexpr uint64_t kBaseY[kLimbs] = {0x6666666666658, 0x4cccccccccccc, 0x1999999999999,
                                     0x3333333333333, 0x6666666666666};
constexpr uint64_t kBaseXY[kLimbs] = {0x68ab3a5b7dda3, 0x0eea2a5eadbb, 0x2af8df483c27e,
                                      0x332b375274732, 0x67875f0fd78b7};
constexpr uint64_t kTwiceD[kLimbs] = {0x69b9426b2f159, 0x35050762add7a, 0x3cf44c0038052,
                                      0x6738cc7407977, 0x2406d9dc56dff};

/// A point in extended coordinates: x = X/Z, y = Y/Z, T = XY/Z (Hisil, Wong, Carter, Dawson 2008).
struct Extended {
  Sum x, y, z, t;
};

/// An affine point, as an addition wants it.
struct Affine {
  Field sum;         ///< y + x
  Field difference;  ///< y - x
  Field product;     ///< 2dxy
};

/// Lane j of entry i has (j + 1) * 16^i * B.
struct Table {
  Affine place[kDigits];
};

WEFT_LANES Field constantOf(const uint64_t (&limbs)[kLimbs]) {
  return {{all(limbs[0]), all(limbs[1]), all(limbs[2]), all(limbs[3]), all(limbs[4])}};
}

WEFT_LANES Sum sumOf(const Field& a) {
  return {{a.limb[0], a.limb[1], a.limb[2], a.limb[3], a.limb[4]}};
}

/// What the additions below have in common, from A, B, C and D of "add-2008-hwcd-3". In the lanes
/// of `negative` the second point's x is taken as -x, which changes the sign of C; its sum and
/// difference must have changed places. Complete: -1 is a square, and d is none.
WEFT_LANES Extended sumFrom(const Sum& a, const Sum& b, const Sum& c, const Sum& d,
                            __mmask8 negative) {
  const Sum minusC = subtracted(d, c);
  const Sum plusC = added(d, c);
  const Field e = carried(subtracted(b, a));
  const Field f = carried(selected(negative, minusC, plusC));
  const Field g = carried(selected(negative, plusC, minusC));
  const Field h = carried(added(b, a));
  return {product(e, f), product(g, h), product(f, g), product(e, h)};
}

/// p + q.
Extended sumOf(const Extended& p, const Extended& q) {
  const Sum a = product(carried(subtracted(p.y, p.x)), carried(subtracted(q.y, q.x)));
  const Sum b = product(carried(added(p.y, p.x)), carried(added(q.y, q.x)));
  const Sum c = product(times(carried(p.t), constantOf(kTwiceD)), carried(q.t));
  const Sum zz = product(carried(p.z), carried(q.z));
  return sumFrom(a, b, c, added(zz, zz), 0);
}

/// p + q, or p - q in the lanes of `negative` (see sumFrom()).
WEFT_LANES Extended sumOf(const Extended& p, const Affine& q, __mmask8 negative) {
  const Sum a = product(carried(subtracted(p.y, p.x)), q.difference);
  const Sum b = product(carried(added(p.y, p.x)), q.sum);
  const Sum c = product(carried(p.t), q.product);
  return sumFrom(a, b, c, added(p.z, p.z), negative);
}

WEFT_LANES Extended selectedPoint(__mmask8 mask, const Extended& a, const Extended& b) {
  return {selected(mask, a.x, b.x), selected(mask, a.y, b.y), selected(mask, a.z, b.z),
          selected(mask, a.t, b.t)};
}

/// The last lane of `a` in every lane.
Sum lastLane(const Sum& a) {
  Sum r;
  for (size_t i = 0; i < kLimbs; i++) {
    r.limb[i] = _mm512_maskz_permutexvar_epi64(0xFF, all(kLanes - 1), a.limb[i]);
  }
  return r;
}

Affine affineOf(const Extended& p) {
  const Field z = inverse(carried(p.z));
  const Field x = times(carried(p.x), z);
  const Field y = times(carried(p.y), z);
  return {carried(added(y, x)), carried(subtracted(y, x)), times(times(x, y), constantOf(kTwiceD))};
}

Table tableOfBase() {
  Table table;
  Extended power = {sumOf(constantOf(kBaseX)), sumOf(constantOf(kBaseY)), sumOf(fieldOf(1)),
                    sumOf(constantOf(kBaseXY))};
  for (Affine& place : table.place) {
    Extended multiples = power;
    for (unsigned lane = 1; lane < kLanes; lane++) {
      const auto others = static_cast<__mmask8>(0xFFU << lane);
      multiples = selectedPoint(others, multiples, sumOf(multiples, power));
    }
    place = affineOf(multiples);
    const Extended eightfold = {lastLane(multiples.x), lastLane(multiples.y), lastLane(multiples.z),
                                lastLane(multiples.t)};
    power = sumOf(eightfold, eightfold);
  }
  return table;
}

/// Made by the first call: public, and the same for all.
const Table& baseTable() {
  static const Table table = tableOfBase();
  return table;
}

/// The entry for a digit's magnitude in each lane; the point (0, 1) for 0.
WEFT_LANES Affine entryOf(const Affine& place, Lanes magnitude) {
  const Lanes index = minus(magnitude, all(1));
  const __mmask8 some = _mm512_test_epi64_mask(magnitude, magnitude);
  const auto lookUp = [&](const Field& entries, const Field& none) {
    Field r;
    for (size_t i = 0; i < kLimbs; i++) {
      // The low three bits of the index count.
      r.limb[i] = _mm512_mask_permutexvar_epi64(none.limb[i], some, index, entries.limb[i]);
    }
    return r;
  };
  return {lookUp(place.sum, fieldOf(1)), lookUp(place.difference, fieldOf(1)),
          lookUp(place.product, fieldOf(0))};
}

/// The u coordinates of scalar * B, canonical.
[[gnu::noinline]] void multiplyBase(const Table& table, const Words& scalars, Words& out) {
  const Sum zero = sumOf(fieldOf(0));
  const Sum one = sumOf(fieldOf(1));
  Extended p = {zero, one, one, zero};
  __mmask8 carry = 0;
  for (unsigned i = 0; i < kDigits; i++) {
    const Lanes shifted = shiftedDown(wordOf(scalars, i / 16), i % 16 * kDigitBits);
    Lanes digit = _mm512_and_si512(shifted, all(15));
    digit = _mm512_mask_add_epi64(digit, carry, digit, all(1));
    // The last one carries nothing, since a scalar is below 2^255.
    const __mmask8 negative = _mm512_cmpgt_epu64_mask(digit, all(kDigitMax));
    const Lanes magnitude = _mm512_mask_sub_epi64(digit, negative, all(16), digit);
    const Affine entry = entryOf(table.place[i], magnitude);
    const Affine turned = {selected(negative, entry.sum, entry.difference),
                           selected(negative, entry.difference, entry.sum), entry.product};
    p = sumOf(p, turned, negative);
    carry = negative;
  }
  // u = (1 + y) / (1 - y). A clamped scalar is no multiple of the order of B, so that y is not 1.
  const Field over = carried(added(p.z, p.y));
  const Field under = carried(subtracted(p.z, p.y));
  storeWords(times(over, inverse(under)), out);
}

}  // namespace

void x25519Keygen(std::span<X25519Keygen* const> operations) {
  Words scalars{};
  X25519Keygen* const* const lanes = operations.data();
  const size_t count = operations.size();
  for (size_t lane = 0; lane < count; lane++) {
    setLane(scalars, lane, lanes[lane]->privateKey);
  }
  clamp(scalars);
  Words publicKeys;
  multiplyBase(baseTable(), scalars, publicKeys);
  for (size_t lane = 0; lane < count; lane++) {
    getLane(publicKeys, lane, lanes[lane]->publicKey);
  }
  wipe(scalars);
  wipeStack();
  wipeRegisters();
}

}  // namespace weft::crypto::avx512
