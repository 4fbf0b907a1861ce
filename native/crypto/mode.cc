// SPDX-License-Identifier: Apache-2.0
#include "crypto/mode.h"

#include <cstdlib>
#include <string>

namespace weft::crypto {

std::optional<Mode> modeOf(std::string_view name) {
  for (const Mode mode : {Mode::kOff, Mode::kScalar, Mode::kAvx512}) {
    if (name == nameOf(mode)) {
      return mode;
    }
  }
  return std::nullopt;
}

Result<Mode> chooseMode(std::optional<Mode> wanted) {
  if (const char* const name = std::getenv("WEFT_CRYPTO"); name != nullptr && *name != '\0') {
    wanted = modeOf(name);
    if (!wanted) {
      return Status(Code::kInvalid,
                    std::string("WEFT_CRYPTO is off, scalar or avx512, not \"") + name + "\"");
    }
  }
  if (!wanted) {
    return avx512Kernels() != nullptr ? Mode::kAvx512 : Mode::kOff;
  }
  if (*wanted == Mode::kAvx512 && avx512Kernels() == nullptr) {
    return Status(Code::kUnavailable, "this processor has no AVX-512 IFMA, or the system hides it");
  }
  return *wanted;
}

const BreakEvens& breakEvens(Clock clock) {
  static const BreakEvens kMeasured = avx512Kernels() == nullptr
                                          ? BreakEvens::never()
                                          : calibrate(*avx512Kernels(), portableKernels(), clock);
  return kMeasured;
}

}  // namespace weft::crypto
