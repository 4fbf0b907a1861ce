// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "base/status.h"
#include "crypto/batch.h"

namespace weft::crypto {

/// The mode with that name ("off", "scalar", "avx512"), or nothing: no setting names kPortable.
std::optional<Mode> modeOf(std::string_view name);

/// The mode to run in: what the environment's WEFT_CRYPTO names ("portable", too), else `wanted`,
/// else kAvx512 where the processor has it, and kOff where not. kInvalid for a name that is none;
/// kUnavailable for kAvx512 that was asked for where the processor does not have it.
Result<Mode> chooseMode(std::optional<Mode> wanted);

/// Of this processor's lanes; measured once in a process, when first asked, which takes some
/// milliseconds. `clock` counts what a thread runs.
const BreakEvens& breakEvens(Clock clock);

/// What a batch in `mode` goes by: those for kAvx512, from two operations on for kPortable, as
/// kernels mostly are, and never without kernels.
BreakEvens breakEvensOf(Mode mode, Clock clock);

}  // namespace weft::crypto
