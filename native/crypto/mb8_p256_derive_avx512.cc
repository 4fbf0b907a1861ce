// SPDX-License-Identifier: Apache-2.0
#include "crypto/mb8_avx512.h"
#include "crypto/mb8_p256_point_avx512.h"
#include "crypto/mb8_p256_scalar_avx512.h"
#include "crypto/mb8_window_avx512.h"
#include "crypto/mb8_wipe_avx512.h"
#include "crypto/wipe.h"

// ECDH over P-256 (SP 800-56A section 5.7.1.2) in eight lanes. The private key, the sums on the way
// and the result are secret.

namespace weft::crypto::avx512 {
namespace {

using p256::Affine;
using p256::Differences;
using p256::Jacobian;

constexpr int kWidth = 5;
constexpr int kMultiples = 1 << (kWidth - 1);

/// The multiples 1 to kMultiples of the peer's point, which is public.
struct Table {
  Jacobian multiples[kMultiples];
};

[[gnu::noinline]] void doublePoint(Jacobian& point) {
  point = p256::doubled(point);
}

/// Neither is infinity, and they have different x.
[[gnu::noinline]] void addPoint(Jacobian& to, const Affine& term) {
  Differences unused;
  to = p256::sum(to, term, unused);
}

[[gnu::noinline]] void addPoint(Jacobian& to, const Jacobian& term) {
  Differences unused;
  to = p256::sum(to, term, unused);
}

void fill(Table& table, const Affine& peer) {
  table.multiples[0] = toJacobian(peer);
  for (int i = 2; i <= kMultiples; ++i) {
    Jacobian& out = table.multiples[i - 1];
    if (i % 2 == 0) {
      out = table.multiples[i / 2 - 1];
      doublePoint(out);
    } else {
      out = table.multiples[i - 2];
      addPoint(out, peer);
    }
  }
}

/// The multiple that each lane's digit names; the first one for 0. Reads all of them.
[[gnu::noinline]] void lookUp(Jacobian& out, const Table& table, const Digit& digit) {
  out = table.multiples[0];
#pragma GCC unroll 1
  for (int i = 2; i <= kMultiples; ++i) {
    const __mmask8 is =
        _mm512_cmpeq_epi64_mask(digit.magnitude, everyLane(static_cast<uint64_t>(i)));
    out = choose(is, table.multiples[i - 1], out);
  }
  out.y = negatedWhere(digit.negative, out.y);
}

/// scalar * peer, for scalars in [1, n-1], by digits from the highest on.
///
/// No sum meets a case that p256::sum() does not cover, but for infinity, which the masks see to.
/// Let j be what the digits so far make, and d, in [-16, 16], the next one: 32j * P and d * P are
/// added. Where j is 0, as it is until the first digit that is not, or d is 0, the result is one of
/// the two. Else the x coordinates are the same just where the order n divides 32j + d or 32j - d,
/// both of which are more than 0. Before the last digit both are less than n. With the last one,
/// 32j + d is the scalar, which n does not divide, and 32j - d is less than 2n: it would have to be
/// n, which is 17 modulo 32, so d would be 15 and the scalar n + 30.
[[gnu::noinline]] void multiply(Jacobian& sum, const Limbs& scalar, const Affine& peer) {
  Table table;
  fill(table, peer);
  sum = table.multiples[0];
  __mmask8 infinite = 0xff;
  Jacobian term;
  for (int bit = 255; bit >= 0; bit -= kWidth) {
    if (bit < 255) {
      for (int i = 0; i < kWidth; ++i) {
        doublePoint(sum);
      }
    }
    const Digit digit = digitAt<kWidth>(scalar, bit);
    const __mmask8 wanted = _mm512_test_epi64_mask(digit.magnitude, digit.magnitude);
    lookUp(term, table, digit);
    const Jacobian before = sum;
    addPoint(sum, term);
    sum = choose(wanted, choose(infinite, term, sum), before);
    infinite = static_cast<__mmask8>(infinite & ~wanted);
  }
}

struct Coordinates {
  Limbs x;
  Limbs y;
};

/// The shared point in the lanes of the result, else zeros.
[[gnu::noinline]] __mmask8 derive(const Sources& privateKeys, const Sources& xs, const Sources& ys,
                                  Coordinates& shared) {
  const Limbs x = loadBigEndian(xs);
  const Limbs y = loadBigEndian(ys);
  const Limbs scalar = loadBigEndian(privateKeys);
  const Affine peer = {p256::toMontgomery(x), p256::toMontgomery(y)};
  // What is wrong goes through all the same: its result is thrown away.
  const auto valid = static_cast<__mmask8>(order::inRange(scalar) & p256::isBelowP(x) &
                                           p256::isBelowP(y) & p256::isOnCurve(peer));
  Jacobian sum;
  multiply(sum, scalar, peer);
  const Affine result = toAffine(sum);
  const Limbs zero = limbsOf({0, 0, 0, 0, 0});
  shared.x = select(valid, p256::fromMontgomery(result.x), zero);
  shared.y = select(valid, p256::fromMontgomery(result.y), zero);
  return valid;
}

[[gnu::noinline]] void deriveAll(std::span<P256Derive* const> operations) {
  const Bytes32* privateKeys[kLanes];
  const Bytes32* xs[kLanes];
  const Bytes32* ys[kLanes];
  Bytes32* sharedXs[kLanes] = {};
  Bytes32* sharedYs[kLanes] = {};
  for (size_t lane = 0; lane < kLanes; ++lane) {
    P256Derive& operation = *operations[lane < operations.size() ? lane : 0];
    privateKeys[lane] = &operation.privateKey;
    xs[lane] = &operation.peerPublic.x;
    ys[lane] = &operation.peerPublic.y;
    sharedXs[lane] = &operation.shared.x;
    sharedYs[lane] = &operation.shared.y;
  }
  Coordinates shared;
  const __mmask8 valid = derive(privateKeys, xs, ys, shared);
  storeBigEndian(shared.x, sharedXs, operations.size());
  storeBigEndian(shared.y, sharedYs, operations.size());
  for (size_t lane = 0; lane < operations.size(); ++lane) {
    operations[lane]->ok = static_cast<bool>(valid >> lane & 1);
  }
}

}  // namespace

// Nothing secret is in a frame of its own, which wipeStack() does not reach.
void p256Derive(std::span<P256Derive* const> operations) {
  deriveAll(operations);
  wipeStack();
  wipeRegisters();
}

}  // namespace weft::crypto::avx512
