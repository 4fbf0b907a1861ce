// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/mb8_limbs_avx512.h"
#include "crypto/mb8_p256_comb_table.h"
#include "crypto/mb8_p256_xyzz_avx512.h"

// Multiples of the base point of P-256. Included only by files that are compiled for AVX-512.

namespace weft::crypto::p256 {

/// What multiplyBase() found.
struct BaseMultiple {
  XyzzPoint point;
  __mmask8 checked;  ///< Lanes in which what was looked up adds up to the scalar.
};

/// `scalar * G`, for scalars in [1, n-1]. No branch and no address depends on them; the caller
/// wipes the stack and the registers.
BaseMultiple multiplyBase(const Limbs& scalar);

}  // namespace weft::crypto::p256
