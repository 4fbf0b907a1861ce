// SPDX-License-Identifier: Apache-2.0
// From how many operations on the wide row is worth it, on the processor that runs this.
#include <algorithm>
#include <functional>

#include "crypto/batch.h"

namespace weft::crypto {
namespace {

/// The least of so many tries: whoever took the processor in between is not counted.
constexpr int kTries = 5;
/// What wide must save before it is chosen, so that noise does not choose.
constexpr double kMargin = 0.95;

// A point of the curve: its base (SEC 2 section 2.4.2).
constexpr P256Point kBase = {{0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6,
                              0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb,
                              0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96},
                             {0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb,
                              0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31,
                              0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5}};
// In range for every operation, and nobody's secret.
constexpr Bytes32 kNumber = {0x29, 0x11, 0x5c, 0x7d, 0x31, 0x02, 0xee, 0x40, 0x19, 0x8b, 0x6c,
                             0x55, 0x23, 0x01, 0x77, 0xa4, 0xd0, 0x3e, 0x68, 0x9f, 0x10, 0xb2,
                             0xc7, 0x4d, 0x85, 0x3a, 0xf6, 0x61, 0x0c, 0xe9, 0x92, 0x1b};

uint64_t leastNanos(Clock clock, const std::function<void()>& work) {
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < kTries; i++) {
    const uint64_t start = clock();
    work();
    least = std::min(least, clock() - start);
  }
  return least;
}

/// A kernel's time does not depend on how many lanes are filled.
template <typename Operands>
uint8_t breakEvenOf(void (*wide)(std::span<Operands* const>),
                    void (*scalar)(std::span<Operands* const>), const Operands& example,
                    Clock clock) {
  std::array<Operands, kLanes> operands;
  operands.fill(example);
  std::array<Operands*, kLanes> all{};
  std::transform(operands.begin(), operands.end(), all.begin(), [](auto& one) { return &one; });
  const std::span<Operands* const> lanes(all);
  const auto eight = static_cast<double>(leastNanos(clock, [&] { wide(lanes); }));
  const auto one = static_cast<double>(leastNanos(clock, [&] { scalar(lanes.first(1)); }));
  for (uint8_t n = 1; n <= kLanes; n++) {
    if (eight <= kMargin * n * one) {
      return n;
    }
  }
  return BreakEvens::kNever;
}

}  // namespace

BreakEvens calibrate(const Kernels& wide, const Kernels& scalar, Clock clock) {
  const auto of = [](Operation operation) { return static_cast<size_t>(operation); };
  BreakEvens found = BreakEvens::never();
  auto& lanes = found.lanes;
  lanes[of(Operation::kX25519Derive)] = breakEvenOf(
      wide.x25519Derive, scalar.x25519Derive, X25519Derive{kNumber, kNumber, {}, false}, clock);
  lanes[of(Operation::kX25519Keygen)] =
      breakEvenOf(wide.x25519Keygen, scalar.x25519Keygen, X25519Keygen{kNumber, {}}, clock);
  lanes[of(Operation::kEcdsaVerify)] =
      breakEvenOf(wide.ecdsaVerify, scalar.ecdsaVerify,
                  EcdsaVerify{kNumber, kNumber, kNumber, kBase, false}, clock);
  lanes[of(Operation::kEcdsaSign)] = breakEvenOf(
      wide.ecdsaSign, scalar.ecdsaSign, EcdsaSign{kNumber, kNumber, kNumber, {}, {}, false}, clock);
  lanes[of(Operation::kP256Keygen)] =
      breakEvenOf(wide.p256Keygen, scalar.p256Keygen, P256Keygen{kNumber, {}, false}, clock);
  lanes[of(Operation::kP256Derive)] =
      breakEvenOf(wide.p256Derive, scalar.p256Derive, P256Derive{kNumber, kBase, {}, false}, clock);
  return found;
}

}  // namespace weft::crypto
