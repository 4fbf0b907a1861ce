// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/batch.h"

namespace weft::crypto {

/// The mode that computes several at once, on any machine: by AVX-512 where the processor has it,
/// else by the portable row.
inline Mode gatheringMode() {
  return avx512Kernels() == nullptr ? Mode::kPortable : Mode::kAvx512;
}

}  // namespace weft::crypto
