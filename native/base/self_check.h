// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/status.h"

namespace weft {

/// A function of a vendored library, as our code sees it, and the name to report it by.
struct NamedSymbol {
  const char* name;
  const void* address;
};

/// Checks that every symbol lies in the shared object that holds `anchor`. The host process exports
/// its own copies of the libraries we link; a wrong link makes the loader bind our calls to those,
/// whose structures differ. Fails closed: kInternal, naming the symbol and the file it came from,
/// also when the loader knows no file for it. Any thread.
Status checkOwnSymbols(const void* anchor, std::span<const NamedSymbol> symbols);

}  // namespace weft
