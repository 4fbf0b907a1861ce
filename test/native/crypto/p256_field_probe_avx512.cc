// SPDX-License-Identifier: Apache-2.0
#include "crypto/p256_field_probe_avx512.h"

#include "crypto/mb8_p256_field_avx512.h"

namespace weft::crypto::test {
namespace {

using p256::Fe;

Limbs load(const LaneLimbs& from) {
  Limbs out;
  for (size_t i = 0; i < 5; i++) {
    out.v[i] = _mm512_loadu_si512(from[i].data());
  }
  return out;
}

LaneLimbs store(const Limbs& from) {
  LaneLimbs out;
  for (size_t i = 0; i < 5; i++) {
    _mm512_storeu_si512(out[i].data(), from.v[i]);
  }
  return out;
}

}  // namespace

FieldResults computeInField(const FieldInputs& inputs) {
  const Fe<15> a(load(inputs.a));
  const Fe<15> b(load(inputs.b));
  const Fe<7> c(load(inputs.c));
  const Fe<7> d(load(inputs.d));
  const Fe<2> shortC = fold(c);
  const Limbs number = load(inputs.number);
  return {
      store(carry(a * b)),
      store(carry(square(a))),
      store(carry(c - d)),
      store(fold(p256::shifted<1>(c) - p256::shifted<1>(d))),
      store(fold(
          reduce(p256::minusShifted<3>(p256::unreduced(c, d), p256::unreducedSquare(shortC))))),
      store(negated(c)),
      store(canonical(c - d)),
      store(inverse(shortC)),
      store(p256::toMontgomery(number)),
      store(fromMontgomery(a)),
      isZeroElement(c - d),
      p256::isBelowP(number),
  };
}

}  // namespace weft::crypto::test
