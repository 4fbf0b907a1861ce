// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "crypto/batch.h"

namespace weft::crypto {

/// The modes that compute several at once: by the portable row, and by AVX-512 where the processor
/// has it.
inline std::vector<Mode> gatheringModes() {
  std::vector<Mode> modes = {Mode::kPortable};
  if (avx512Kernels() != nullptr) {
    modes.push_back(Mode::kAvx512);
  }
  return modes;
}

/// The quickest of them.
inline Mode gatheringMode() {
  return gatheringModes().back();
}

}  // namespace weft::crypto
