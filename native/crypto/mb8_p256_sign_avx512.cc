// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "crypto/mb8_avx512.h"
#include "crypto/mb8_limbs_avx512.h"
#include "crypto/mb8_p256_comb_avx512.h"
#include "crypto/mb8_p256_scalar_avx512.h"
#include "crypto/mb8_wipe_avx512.h"
#include "crypto/wipe.h"

// Signatures by FIPS 186-5 section 6.4.1, and what keeps a computation that went wrong from telling
// the key. A signature of which the point was not nonce * G, or of which s was not made of the
// private key, may do that (Biehl, Meyer and Müller 2000). So nothing is given out unless
//   - the digits looked up in the table add up to the nonce,
//   - the resulting point is on the curve, which what a fault in a field operation makes of it
//     would be by chance alone, and
//   - s * nonce = digest + r * private key, with what the caller gave taken from its memory again.
// This costs a few per cent at most. To verify would say little more, and take far longer than the
// signature. Not noticed is a nonce that was wrong before it came here; and an addition that was
// left out whole though its digit was counted, which makes a signature that nobody accepts and
// tells the one digit.

namespace weft::crypto::avx512 {
namespace {

constexpr Bytes32 kOneBytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                               0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

/// 1 / a modulo p, one squaring a call: runs beside an inversion modulo n.
class FieldInversion {
 public:
  explicit FieldInversion(const p256::Fe<2>& a) : powers_{a}, power_(a) {}

  /// To be called order::kInversionSquarings times.
  [[gnu::always_inline]] void operator()() {
    power_ = carry(square(power_));
    if (--left_ == 0) {
      power_ = carry(power_ * powers_[kSteps[step_].factor]);
      powers_[kSteps[step_].into] = power_;
      ++step_;
      left_ = kSteps[step_].squarings;
    }
  }

  const p256::Fe<2>& result() const { return power_; }

 private:
  struct Step {
    int squarings;
    size_t factor;  ///< Index of a power to multiply with then,
    size_t into;    ///< and of where to keep what it gives.
  };

  // Powers of a are kept: to 2^K - 1 for K = 1, 2, 3, 6, 12, 15, 30, 32, and what nobody needs.
  // The exponent p - 2 is, in words of 32 bits,
  // ffffffff 00000001 00000000 00000000 00000000 ffffffff ffffffff fffffffd.
  static constexpr Step kSteps[] = {{1, 0, 1},  {1, 0, 2}, {3, 2, 3},  {6, 3, 4},   {3, 2, 5},
                                    {15, 5, 6}, {2, 1, 7}, {32, 0, 8}, {128, 7, 8}, {32, 7, 8},
                                    {30, 6, 8}, {2, 0, 8}, {0, 0, 0}};
  static_assert([] {
    int squarings = 0;
    for (const Step& step : kSteps) {
      squarings += step.squarings;
    }
    return squarings;
  }() == order::kInversionSquarings);

  p256::Fe<2> powers_[9];
  p256::Fe<2> power_;
  size_t step_ = 0;
  int left_ = kSteps[0].squarings;
};

/// Where the operations have their numbers, and for lanes without one where 1 stands.
struct Inputs {
  const Bytes32* digest[kLanes];
  const Bytes32* privateKey[kLanes];
  const Bytes32* nonce[kLanes];
};

Inputs inputsOf(std::span<EcdsaSign* const> operations) {
  EcdsaSign* const* const each = operations.data();
  const size_t count = operations.size();
  Inputs out;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    out.digest[lane] = lane < count ? &each[lane]->digest : &kOneBytes;
    out.privateKey[lane] = lane < count ? &each[lane]->privateKey : &kOneBytes;
    out.nonce[lane] = lane < count ? &each[lane]->nonce : &kOneBytes;
  }
  return out;
}

struct Signature {
  Limbs r;
  Limbs s;
};

/// The lanes in which s * nonce = digest + r * private key.
__mmask8 isConsistent(const Inputs& inputs, const Signature& signature) {
  // The compiler has to read them again: what it has of them may be wrong.
  asm volatile("" : : : "memory");
  const Limbs privateKey = order::toMontgomery(loadBigEndian(inputs.privateKey));
  const Limbs nonce = order::toMontgomery(loadBigEndian(inputs.nonce));
  const Limbs left = order::mul(nonce, signature.s);
  const Limbs right = order::add(order::mul(privateKey, signature.r), loadBigEndian(inputs.digest));
  return isEqual(order::reduced(left), order::reduced(right));
}

/// The signature of which `multiple` is nonce * G, with numbers in range; the lanes in which it may
/// be given out.
[[gnu::noinline]] __mmask8 complete(const Inputs& inputs, const Limbs& privateKey,
                                    const Limbs& nonce, const p256::BaseMultiple& multiple,
                                    Signature& out) {
  FieldInversion ofZzz(multiple.point.zzz);
  const Limbs inverse = order::invertBeside(order::toMontgomery(nonce), ofZzz);
  const p256::AffinePoint point = p256::toAffine(multiple.point, ofZzz.result());
  // p < 2n.
  out.r = subtractOnce(p256::fromMontgomery(point.x), limbsOf(order::kN));
  const Limbs product = order::mul(order::toMontgomery(privateKey), out.r);
  const Limbs sum = order::add(product, loadBigEndian(inputs.digest));
  out.s = subtractOnce(order::mul(inverse, sum), limbsOf(order::kN));
  return static_cast<__mmask8>(multiple.checked & p256::isOnCurve(point) &
                               isConsistent(inputs, out) & ~isZero(out.r) & ~isZero(out.s));
}

[[gnu::noinline]] void signAll(std::span<EcdsaSign* const> operations) {
  const Inputs inputs = inputsOf(operations);
  const Limbs one = {{everyLane(1), everyLane(0), everyLane(0), everyLane(0), everyLane(0)}};
  Limbs privateKey = loadBigEndian(inputs.privateKey);
  Limbs nonce = loadBigEndian(inputs.nonce);
  const auto valid = static_cast<__mmask8>(order::inRange(privateKey) & order::inRange(nonce));
  privateKey = select(valid, privateKey, one);
  nonce = select(valid, nonce, one);
  // One after the other, so that wipeStack() reaches the frames of both.
  const p256::BaseMultiple multiple = p256::multiplyBase(nonce);
  Signature signature;
  const __mmask8 good = complete(inputs, privateKey, nonce, multiple, signature);
  const auto ok = static_cast<__mmask8>(valid & good);
  const Limbs zero = {};
  Bytes32* r[kLanes] = {};
  Bytes32* s[kLanes] = {};
  EcdsaSign* const* const each = operations.data();
  const size_t count = operations.size();
  for (size_t lane = 0; lane < count; ++lane) {
    r[lane] = &each[lane]->r;
    s[lane] = &each[lane]->s;
    each[lane]->ok = static_cast<bool>(ok >> lane & 1);
  }
  storeBigEndian(select(ok, signature.r, zero), r, count);
  storeBigEndian(select(ok, signature.s, zero), s, count);
}

}  // namespace

void ecdsaSign(std::span<EcdsaSign* const> operations) {
  signAll(operations);
  wipeStack();
  wipeRegisters();
}

}  // namespace weft::crypto::avx512
