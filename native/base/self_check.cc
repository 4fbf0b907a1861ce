// SPDX-License-Identifier: Apache-2.0
#include "base/self_check.h"

#include <dlfcn.h>

namespace weft {

namespace {

const char* fileOf(const Dl_info& info) {
  return info.dli_fname == nullptr ? "an unknown file" : info.dli_fname;
}

}  // namespace

Status checkOwnSymbols(const void* anchor, std::span<const NamedSymbol> symbols) {
  Dl_info own{};
  if (dladdr(anchor, &own) == 0) {
    return {Code::kInternal, "self-check: the loader does not know this library"};
  }
  for (const NamedSymbol& symbol : symbols) {
    Dl_info found{};
    // The base address tells two objects apart even where their names are equal.
    if (dladdr(symbol.address, &found) == 0 || found.dli_fbase != own.dli_fbase) {
      return {Code::kInternal, std::string("self-check: ") + symbol.name + " resolves to " +
                                   fileOf(found) + ", not to " + fileOf(own) +
                                   ": the engine was linked wrongly and refuses to start"};
    }
  }
  return {};
}

}  // namespace weft
