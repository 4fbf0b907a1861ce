// SPDX-License-Identifier: Apache-2.0
#include "crypto/mb8_p256_scalar_avx512.h"
#include "crypto/order_lanes.h"

namespace weft::crypto::test {
namespace {

Limbs fromArrays(const std::array<LimbArray, kLanes>& numbers) {
  Limbs out;
  for (size_t limb = 0; limb < 5; ++limb) {
    alignas(64) uint64_t lanes[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = numbers[lane][limb];
    }
    out.v[limb] = _mm512_load_si512(lanes);
  }
  return out;
}

void store(const Limbs& number, std::array<OrderResults, kLanes>& out,
           Bytes32 OrderResults::*member) {
  Bytes32* to[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane) {
    to[lane] = &(out[lane].*member);
  }
  storeBigEndian(number, to, kLanes);
}

}  // namespace

void computeModuloOrder(const std::array<LimbArray, kLanes>& a,
                        const std::array<LimbArray, kLanes>& b,
                        std::array<OrderResults, kLanes>& out) {
  const Limbs x = fromArrays(a);
  const Limbs y = fromArrays(b);
  store(order::reduced(order::mul(x, y)), out, &OrderResults::product);
  store(order::reduced(order::sqr(x)), out, &OrderResults::square);
  store(order::reduced(order::add(x, y)), out, &OrderResults::sum);
  const Limbs inverse = order::invert(order::toMontgomery(x));
  store(order::fromMontgomery(inverse), out, &OrderResults::inverse);
  const __mmask8 inRange = order::inRange(x);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    out[lane].inRange = (inRange >> lane & 1) != 0;
  }
}

}  // namespace weft::crypto::test
