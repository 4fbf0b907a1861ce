// SPDX-License-Identifier: Apache-2.0
#include "crypto/mode.h"

#include <cstdlib>
#include <string>

#include "crypto/calibrate.h"

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
    wanted = name == std::string_view(nameOf(Mode::kPortable)) ? Mode::kPortable : modeOf(name);
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
  const auto measure = [clock] {
    BreakEvens found = BreakEvens::never();
    if (const Kernels* const wide = avx512Kernels()) {
      // Again, when caches and clock rates are those of a process that works.
      found = calibrate(*wide, portableKernels(), clock, found);
      found = calibrate(*wide, portableKernels(), clock, found);
    }
    return found;
  };
  static const BreakEvens kMeasured = measure();
  return kMeasured;
}

BreakEvens breakEvensOf(Mode mode, Clock clock) {
  constexpr uint8_t kPortableFrom = 2;
  switch (mode) {
    case Mode::kAvx512:
      return breakEvens(clock);
    case Mode::kPortable: {
      BreakEvens fixed{};
      fixed.lanes.fill(kPortableFrom);
      return fixed;
    }
    case Mode::kOff:
    case Mode::kScalar:
      break;
  }
  return BreakEvens::never();
}

}  // namespace weft::crypto
