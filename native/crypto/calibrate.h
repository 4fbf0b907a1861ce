// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/batch.h"

namespace weft::crypto {

/// From how many lanes on each kernel of `wide` is quicker than `scalar` one after the other, by a
/// clock that counts what this thread runs. It measures for some 4 ms, in rounds, and the median
/// round decides. What `standing` says stays unless that passes it by 5 %: a kernel is taken with
/// fewer lanes where it is so much quicker with them, and given up where it is so much slower.
/// Nothing stands at first: BreakEvens::never().
BreakEvens calibrate(const Kernels& wide, const Kernels& scalar, Clock clock,
                     const BreakEvens& standing);

}  // namespace weft::crypto
