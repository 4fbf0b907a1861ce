// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "crypto/mb8.h"

/// The field of P-256 in lanes for a test that is not itself compiled for AVX-512.
namespace weft::crypto::test {

/// Five limbs of 52 bits of eight numbers, the lowest first.
using LaneLimbs = std::array<std::array<uint64_t, kLanes>, 5>;

struct FieldInputs {
  LaneLimbs a;       ///< 15p at most.
  LaneLimbs b;       ///< 15p at most.
  LaneLimbs c;       ///< 7p at most.
  LaneLimbs d;       ///< 7p at most.
  LaneLimbs number;  ///< Below 2^256.
};

/// Each named for what it is an element of the field equal to. R is 2^260.
struct FieldResults {
  LaneLimbs abOverR;
  LaneLimbs aaOverR;
  LaneLimbs cMinusD;           ///< 14p at most.
  LaneLimbs twiceCMinusD;      ///< Above 0, below p + 2^234.
  LaneLimbs cdMinus8ccOverR;   ///< The same.
  LaneLimbs minusC;            ///< 7p at most.
  LaneLimbs canonicalCMinusD;  ///< Below p.
  LaneLimbs rrOverC;           ///< 0 where c is.
  LaneLimbs numberTimesR;
  LaneLimbs aOverR;  ///< Below p.
  uint8_t cIsD;      ///< A bit each lane.
  uint8_t numberIsBelowP;
};

FieldResults computeInField(const FieldInputs& inputs);

}  // namespace weft::crypto::test
