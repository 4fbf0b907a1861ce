// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace weft::test {

/// Locks of the TLS library that this thread holds now.
int libraryLocksHeld();
/// How often this thread took one, in all.
uint64_t libraryLocksTaken();

}  // namespace weft::test
