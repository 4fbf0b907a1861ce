// SPDX-License-Identifier: Apache-2.0
#include "crypto/calibrate.h"

#include <doctest/doctest.h>

#include "crypto/mode.h"
#include "crypto/operations.h"

namespace weft::crypto {
namespace {

/// What each call takes by a clock that only these rows move.
struct Times {
  uint64_t now = 0;
  /// Of a call of the wide row, by operation.
  std::array<uint64_t, kOperations> wide{};
  /// Of one operation by the scalar row.
  uint64_t one = 0;
  /// Calls of the wide row, whatever for, that take ten times as long: the first so many of five.
  unsigned slowOfFive = 0;
  unsigned calls = 0;
};
Times times;

uint64_t fakeClock() {
  return times.now;
}

template <typename Operands, Operation kOperation>
void fakeWide(std::span<Operands* const> operands) {
  CHECK(operands.size() == kLanes);
  const bool slow = times.calls++ % 5 < times.slowOfFive;
  times.now += times.wide[static_cast<size_t>(kOperation)] * (slow ? 10 : 1);
}

template <typename Operands>
void fakeScalar(std::span<Operands* const> operands) {
  times.now += times.one * operands.size();
}

constexpr Kernels kFakeWide = {
    "fake",
    fakeWide<X25519Derive, Operation::kX25519Derive>,
    fakeWide<X25519Keygen, Operation::kX25519Keygen>,
    fakeWide<EcdsaVerify, Operation::kEcdsaVerify>,
    fakeWide<EcdsaSign, Operation::kEcdsaSign>,
    fakeWide<P256Keygen, Operation::kP256Keygen>,
    fakeWide<P256Derive, Operation::kP256Derive>,
};
constexpr Kernels kFakeScalar = {
    "fake",
    fakeScalar<X25519Derive>,
    fakeScalar<X25519Keygen>,
    fakeScalar<EcdsaVerify>,
    fakeScalar<EcdsaSign>,
    fakeScalar<P256Keygen>,
    fakeScalar<P256Derive>,
};

BreakEvens all(uint8_t lanes) {
  BreakEvens same{};
  same.lanes.fill(lanes);
  return same;
}

/// What is found of kernels that take `wide` where one operation takes 1,000.
int found(uint64_t wide, uint8_t standing = BreakEvens::kNever, unsigned slowOfFive = 0) {
  times = {};
  times.wide.fill(wide);
  times.one = 1000;
  times.slowOfFive = slowOfFive;
  const BreakEvens measured = calibrate(kFakeWide, kFakeScalar, fakeClock, all(standing));
  CHECK(measured.lanes == all(measured.lanes[0]).lanes);
  return measured.lanes[0];
}

TEST_CASE("crypto: a kernel is taken from where it is 5 % quicker, and never where it nowhere is") {
  CHECK(found(949) == 1);
  CHECK(found(951) == 2);
  CHECK(found(1899) == 2);
  CHECK(found(1901) == 3);
  CHECK(found(7599) == 8);
  CHECK(found(7601) == BreakEvens::kNever);
  CHECK(found(70'000) == BreakEvens::kNever);
}

TEST_CASE("crypto: two rounds of five that were disturbed change nothing") {
  CHECK(found(1700, BreakEvens::kNever, 2) == 2);
  CHECK(found(1700, 2, 2) == 2);
  CHECK(found(1700, BreakEvens::kNever, 3) == BreakEvens::kNever);
}

TEST_CASE("crypto: what stands is moved only by what passes it by 5 %") {
  CHECK(found(2099, 2) == 2);  // a little slower with two lanes
  CHECK(found(2101, 2) == 3);
  CHECK(found(1901, 3) == 3);  // a little quicker with two
  CHECK(found(1899, 3) == 2);
  CHECK(found(8399, 8) == 8);
  CHECK(found(8401, 8) == BreakEvens::kNever);
  CHECK(found(7601, BreakEvens::kNever) == BreakEvens::kNever);
}

TEST_CASE("crypto: noise near a boundary does not go to and fro") {
  int lanes = found(1899);
  for (const uint64_t noisy : {1950U, 2050U, 1890U, 2090U, 1910U}) {
    lanes = found(noisy, static_cast<uint8_t>(lanes));
    CHECK(lanes == 2);
  }
}

TEST_CASE("crypto: each operation has a break-even of its own") {
  times = {};
  times.one = 1000;
  times.wide = {500, 1500, 2500, 3500, 4500, 9000};
  const BreakEvens measured = calibrate(kFakeWide, kFakeScalar, fakeClock, BreakEvens::never());
  CHECK(measured.lanes == std::array<uint8_t, kOperations>{1, 2, 3, 4, 5, BreakEvens::kNever});
}

/// The portable row, which looks that what it is given is real.
template <typename Operands>
void careful(std::span<Operands* const> operands) {
  (portableKernels().*Of<Operands>::kKernel)(operands);
  for (const Operands* const one : operands) {
    if constexpr (requires { one->ok; }) {
      CHECK(one->ok);
    }
  }
  times.calls++;
}

TEST_CASE("crypto: what is measured is what a handshake computes: all of it succeeds") {
  constexpr Kernels kCareful = {
      "careful",          careful<X25519Derive>, careful<X25519Keygen>, careful<EcdsaVerify>,
      careful<EcdsaSign>, careful<P256Keygen>,   careful<P256Derive>,
  };
  times = {};
  calibrate(kCareful, kCareful, fakeClock, BreakEvens::never());
  CHECK(times.calls == 2 * 5 * kOperations);
}

}  // namespace
}  // namespace weft::crypto
