// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "crypto/mb8_avx512.h"
#include "crypto/mb8_limbs_avx512.h"
#include "crypto/mb8_p256_comb_avx512.h"
#include "crypto/mb8_p256_scalar_avx512.h"
#include "crypto/mb8_wipe_avx512.h"
#include "crypto/wipe.h"

namespace weft::crypto::avx512 {
namespace {

constexpr Bytes32 kOneBytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                               0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

[[gnu::noinline]] void multiplyAll(std::span<P256Keygen* const> operations) {
  P256Keygen* const* const each = operations.data();
  const size_t count = operations.size();
  const Bytes32* from[kLanes];
  Bytes32* x[kLanes] = {};
  Bytes32* y[kLanes] = {};
  for (size_t lane = 0; lane < kLanes; ++lane) {
    from[lane] = lane < count ? &each[lane]->privateKey : &kOneBytes;
  }
  const Limbs one = {{everyLane(1), everyLane(0), everyLane(0), everyLane(0), everyLane(0)}};
  const Limbs scalar = loadBigEndian(from);
  const __mmask8 valid = order::inRange(scalar);
  const p256::BaseMultiple multiple = p256::multiplyBase(select(valid, scalar, one));
  const p256::AffinePoint point = p256::toAffine(multiple.point, p256::inverse(multiple.point.zzz));
  // What a fault made of the point is not given out: on another curve, it may tell the key.
  const auto ok = static_cast<__mmask8>(valid & multiple.checked & p256::isOnCurve(point));
  const Limbs zero = {};
  for (size_t lane = 0; lane < count; ++lane) {
    x[lane] = &each[lane]->publicKey.x;
    y[lane] = &each[lane]->publicKey.y;
    each[lane]->ok = static_cast<bool>(ok >> lane & 1);
  }
  storeBigEndian(select(ok, p256::fromMontgomery(point.x), zero), x, count);
  storeBigEndian(select(ok, p256::fromMontgomery(point.y), zero), y, count);
}

}  // namespace

void p256Keygen(std::span<P256Keygen* const> operations) {
  multiplyAll(operations);
  wipeStack();
  wipeRegisters();
}

}  // namespace weft::crypto::avx512
