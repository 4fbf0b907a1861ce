// SPDX-License-Identifier: Apache-2.0
#include "crypto/mb8_avx512.h"
#include "crypto/mb8_p256_point_avx512.h"
#include "crypto/mb8_p256_scalar_avx512.h"
#include "crypto/mb8_rows_avx512.h"
#include "crypto/mb8_window_avx512.h"

// ECDSA's verification (FIPS 186-5 section 6.4.2) in eight lanes. All of it is public, so tables
// are read by address, and rare cases may branch.

namespace weft::crypto::avx512 {
namespace {

using p256::Affine;
using p256::Differences;
using p256::Fe;
using p256::Jacobian;

constexpr int kKeyWidth = 5;
constexpr size_t kKeyMultiples = 1 << (kKeyWidth - 1);
constexpr int kGeneratorWidth = 8;
constexpr size_t kGeneratorMultiples = 1 << (kGeneratorWidth - 1);

/// A sum of points, of which some are infinity.
struct Accumulator {
  Jacobian point;
  __mmask8 infinite;
};

/// What an addition gives in lanes of `sameX`, where both points have the same x: infinity, or
/// twice the point.
[[gnu::noinline, gnu::cold]] void resolveSameX(Accumulator& sum, const Jacobian& before,
                                               const Differences& differences, __mmask8 sameX) {
  const __mmask8 same = static_cast<__mmask8>(sameX & p256::isZeroElement(differences.y));
  sum.point = choose(same, p256::doubled(before), sum.point);
  sum.infinite = static_cast<__mmask8>(sum.infinite | (sameX & ~same));
}

/// Adds `term` in the lanes of `wanted`.
template <class Point>
[[gnu::always_inline]] inline void add(Accumulator& to, const Point& term, const Jacobian& alone,
                                       __mmask8 wanted) {
  const Jacobian before = to.point;
  Differences differences;
  Accumulator after = {p256::sum(before, term, differences), 0};
  const __mmask8 adding = static_cast<__mmask8>(wanted & ~to.infinite);
  const __mmask8 sameX =
      static_cast<__mmask8>(adding & isEqual(differences.x, p256::constant(p256::kP)));
  if (sameX != 0) [[unlikely]] {
    resolveSameX(after, before, differences, sameX);
  }
  const __mmask8 starting = static_cast<__mmask8>(wanted & to.infinite);
  to.point = choose(starting, alone, choose(adding, after.point, before));
  to.infinite = static_cast<__mmask8>((to.infinite & ~wanted) | after.infinite);
}

[[gnu::noinline]] void addPoint(Accumulator& to, const Jacobian& term, __mmask8 wanted) {
  add(to, term, term, wanted);
}

[[gnu::noinline]] void addPoint(Accumulator& to, const Affine& term, __mmask8 wanted) {
  add(to, term, toJacobian(term), wanted);
}

[[gnu::noinline]] void doublePoint(Jacobian& point) {
  point = p256::doubled(point);
}

/// The entry of a table, of which the first is that of 1, that each lane's digit names. For 0 it is
/// as good as any.
void entriesOf(const Digit& digit, uint64_t (&entries)[kLanes]) {
  const __m512i one = everyLane(1);
  _mm512_storeu_si512(entries, _mm512_sub_epi64(_mm512_max_epu64(digit.magnitude, one), one));
}

/// The multiples 1 to kGeneratorMultiples of the base point.
class GeneratorTable {
 public:
  GeneratorTable() {
    Accumulator steps = {toJacobian(p256::generator()), 0};
    for (unsigned lane = 1; lane < kLanes; ++lane) {
      addPoint(steps, p256::generator(), static_cast<__mmask8>(0xff << lane));
    }
    const __m512i none = _mm512_setzero_si512();
    const Affine eight = lastLane(toAffine(steps.point));
    for (Row(&rows)[kLanes] : rows_) {
      const auto [x, y] = toAffine(steps.point);
      storeRows({x.v[0], x.v[1], x.v[2], x.v[3], x.v[4], y.v[0], y.v[1], y.v[2]},
                {y.v[3], y.v[4], none, none, none, none, none, none}, rows);
      addPoint(steps, eight, 0xff);
    }
  }

  Affine at(const Digit& digit) const {
    uint64_t entries[kLanes];
    entriesOf(digit, entries);
    const Row* rows[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) {
      rows[lane] = &rows_[entries[lane] / kLanes][entries[lane] % kLanes];
    }
    __m512i low[8];
    __m512i high[8];
    loadRows(rows, low, high);
    const Fe<2> x(Limbs{{low[0], low[1], low[2], low[3], low[4]}});
    const Fe<2> y(Limbs{{low[5], low[6], low[7], high[0], high[1]}});
    return {x, negatedWhere(digit.negative, y)};
  }

 private:
  static Affine lastLane(const Affine& a) {
    const __m512i last = everyLane(kLanes - 1);
    Affine out;
    for (int i = 0; i < 5; ++i) {
      out.x.v[i] = _mm512_permutexvar_epi64(last, a.x.v[i]);
      out.y.v[i] = _mm512_permutexvar_epi64(last, a.y.v[i]);
    }
    return out;
  }

  Row rows_[kGeneratorMultiples / kLanes][kLanes];
};

const GeneratorTable& generatorTable() {
  static const GeneratorTable table;
  return table;
}

/// The multiples 1 to kKeyMultiples of each lane's key.
class KeyTable {
 public:
  explicit KeyTable(const Affine& key) {
    Jacobian multiples[kKeyMultiples];
    multiples[0] = toJacobian(key);
    store(0, multiples[0]);
    for (size_t i = 1; i < kKeyMultiples; ++i) {
      Jacobian& out = multiples[i];
      if (i % 2 == 1) {
        out = multiples[i / 2];
        doublePoint(out);
      } else {
        // Never the same x: the order is no small number.
        Accumulator next = {multiples[i - 1], 0};
        addPoint(next, key, 0xff);
        out = next.point;
      }
      store(i, out);
    }
  }

  Jacobian at(const Digit& digit) const {
    uint64_t entries[kLanes];
    entriesOf(digit, entries);
    const Row* rows[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) {
      rows[lane] = &rows_[entries[lane]][lane];
    }
    __m512i low[8];
    __m512i high[8];
    loadRows(rows, low, high);
    const Fe<2> x(Limbs{{low[0], low[1], low[2], low[3], low[4]}});
    const Fe<2> y(Limbs{{low[5], low[6], low[7], high[0], high[1]}});
    const Fe<4> z(Limbs{{high[2], high[3], high[4], high[5], high[6]}});
    return {x, negatedWhere(digit.negative, y), z};
  }

 private:
  void store(size_t entry, const Jacobian& a) {
    const auto& [x, y, z] = a;
    storeRows({x.v[0], x.v[1], x.v[2], x.v[3], x.v[4], y.v[0], y.v[1], y.v[2]},
              {y.v[3], y.v[4], z.v[0], z.v[1], z.v[2], z.v[3], z.v[4], _mm512_setzero_si512()},
              rows_[entry]);
  }

  Row rows_[kKeyMultiples][kLanes];
};

/// u1 * G + u2 * Q (Straus; HAC 14.88).
Accumulator combination(const Limbs& u1, const Limbs& u2, const Affine& key) {
  const GeneratorTable& generators = generatorTable();
  const KeyTable keys(key);
  Accumulator sum = {toJacobian(key), 0xff};
  sum.point.z = Fe<4>(limbsOf({0, 0, 0, 0, 0}));
  for (int bit = 256; bit >= 0; --bit) {
    if (bit < 256) {
      doublePoint(sum.point);
    }
    if (bit % kKeyWidth == 0) {
      const Digit digit = digitAt<kKeyWidth>(u2, bit);
      addPoint(sum, keys.at(digit), _mm512_test_epi64_mask(digit.magnitude, digit.magnitude));
    }
    if (bit % kGeneratorWidth == 0) {
      const Digit digit = digitAt<kGeneratorWidth>(u1, bit);
      addPoint(sum, generators.at(digit), _mm512_test_epi64_mask(digit.magnitude, digit.magnitude));
    }
  }
  return sum;
}

/// The lanes in which x / z^2 is r modulo n. x is less than p, which is more than n: two numbers
/// below p can be r.
__mmask8 hasX(const Accumulator& sum, const Limbs& r) {
  const Fe<2> zz = carry(square(sum.point.z));
  const __mmask8 isR = isZeroElement(p256::toMontgomery(r) * zz - sum.point.x);
  Limbs more;
  for (int i = 0; i < 5; ++i) {
    more.v[i] = _mm512_add_epi64(r.v[i], everyLane(order::kN[i]));
  }
  more = carried(more);
  const __mmask8 isMore = isZeroElement(p256::toMontgomery(more) * zz - sum.point.x);
  return static_cast<__mmask8>(~sum.infinite & (isR | (isMore & p256::isBelowP(more))));
}

}  // namespace

void ecdsaVerify(std::span<EcdsaVerify* const> operations) {
  const Bytes32* digests[kLanes];
  const Bytes32* rs[kLanes];
  const Bytes32* ss[kLanes];
  const Bytes32* xs[kLanes];
  const Bytes32* ys[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const EcdsaVerify& from = *operations[lane < operations.size() ? lane : 0];
    digests[lane] = &from.digest;
    rs[lane] = &from.r;
    ss[lane] = &from.s;
    xs[lane] = &from.publicKey.x;
    ys[lane] = &from.publicKey.y;
  }
  const Limbs r = loadBigEndian(rs);
  const Limbs s = loadBigEndian(ss);
  const Limbs x = loadBigEndian(xs);
  const Limbs y = loadBigEndian(ys);
  const Affine key = {p256::toMontgomery(x), p256::toMontgomery(y)};
  // What is wrong goes through all the same: nothing of it is looked at.
  const auto valid =
      static_cast<__mmask8>(order::inRange(r) & order::inRange(s) & p256::isBelowP(x) &
                            p256::isBelowP(y) & p256::isOnCurve(key));
  const Limbs w = order::invert(order::toMontgomery(s));
  const Limbs n = limbsOf(order::kN);
  const Limbs u1 = subtractOnce(order::mul(loadBigEndian(digests), w), n);
  const Limbs u2 = subtractOnce(order::mul(r, w), n);
  const auto ok = static_cast<__mmask8>(valid & hasX(combination(u1, u2, key), r));
  for (size_t lane = 0; lane < operations.size(); ++lane) {
    operations[lane]->ok = (ok >> lane & 1) != 0;
  }
}

}  // namespace weft::crypto::avx512
