// SPDX-License-Identifier: Apache-2.0
#include "base/self_check.h"

#include <doctest/doctest.h>

#include <cstdlib>

namespace weft {
namespace {

int anchor = 0;

const void* addressOf(int (*function)(const char*)) {
  return reinterpret_cast<const void*>(function);
}

int ownFunction(const char*) {
  return 0;
}

TEST_CASE("self-check accepts symbols of the same object") {
  const NamedSymbol symbols[] = {{"ownFunction", addressOf(&ownFunction)}, {"anchor", &anchor}};
  CHECK_UNARY(checkOwnSymbols(&anchor, symbols).ok());
}

TEST_CASE("self-check accepts an empty list") {
  CHECK_UNARY(checkOwnSymbols(&anchor, {}).ok());
}

TEST_CASE("self-check refuses a symbol of another object and names both") {
  const NamedSymbol symbols[] = {{"ownFunction", addressOf(&ownFunction)},
                                 {"system", addressOf(&std::system)}};
  const Status status = checkOwnSymbols(&anchor, symbols);
  CHECK_UNARY(!status.ok());
  CHECK_EQ(status.code(), Code::kInternal);
  CHECK_NE(status.message().find("system resolves to"), std::string::npos);
  CHECK_NE(status.message().find("unit"), std::string::npos);
}

TEST_CASE("self-check refuses an address that is in no object") {
  const int onHeapOrStack = 0;
  const NamedSymbol symbols[] = {{"local", &onHeapOrStack}};
  CHECK_UNARY(!checkOwnSymbols(&anchor, symbols).ok());
  CHECK_UNARY(!checkOwnSymbols(&onHeapOrStack, {}).ok());
}

}  // namespace
}  // namespace weft
