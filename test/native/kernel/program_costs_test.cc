// SPDX-License-Identifier: Apache-2.0
// What this kernel makes of every program. The figures stand in the notes, where scripts/kernels
// reads them. Needs root.
#include "kernel/program_costs.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "kernel/probe_objects.h"
#include "kernel/scratch_node.h"

using weft::kernel::BpfObject;
using weft::test::ProgramCost;

namespace {

/// "_without_direct" of "weft_lookup_without_direct": programs are called alike in all objects of
/// one source.
std::string variantOf(const BpfObject& object) {
  const std::string name = object.name;
  const size_t at = name.find("_without_");
  return at == std::string::npos ? "" : name.substr(at);
}

}  // namespace

TEST_CASE("this kernel takes every program") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const weft::test::ScratchPins pins;
  const BpfObject carry = weft::kernel::objects::carry();
  // Does nothing: a kernel that refuses it refuses whatever runs over a map of sockets.
  const auto overMaps = weft::test::costsOf(weft::kernel::probe_objects::iter_sockmap(), "");
  const std::string& why = overMaps.status().message();
  const bool isRefused = why.find("Operation not permitted") != std::string::npos;
  for (const BpfObject& object : {
#define WEFT_OBJECT_OF(name) weft::kernel::objects::name(),
           WEFT_OBJECTS(WEFT_OBJECT_OF)
#undef WEFT_OBJECT_OF
       }) {
    if (std::string_view(object.name) == carry.name && isRefused) {
      std::printf("# %s is not asked of this kernel, which takes no program like it: %s\n",
                  carry.name, why.c_str());
      continue;
    }
    const auto costs = weft::test::costsOf(object, pins->maps());
    INFO(costs.status().message());
    REQUIRE(costs.ok());
    CHECK_FALSE(costs.value().empty());
    for (const ProgramCost& cost : costs.value()) {
      std::printf("# program %s%s: %zu instructions, %zu translated, %u verified, %u states\n",
                  cost.name.c_str(), variantOf(object).c_str(), cost.instructions, cost.translated,
                  cost.verified, cost.states);
      CHECK(cost.verified > 0);
    }
  }
}

TEST_CASE("a verifier that says something else is not misread") {
  ProgramCost cost;
  for (const char* log : {"", "processed ", "processed x insns", "processed 4 insns (limit 5)"}) {
    INFO(log);
    weft::test::readVerifierLog(log, cost);
    CHECK(cost.verified == 0);
    CHECK(cost.states == 0);
  }
  weft::test::readVerifierLog(
      "func#0 @0\nprocessed 91 insns (limit 1000000) max_states_per_insn 1 total_states 7 "
      "peak_states 6 mark_read 3\n",
      cost);
  CHECK(cost.verified == 91);
  CHECK(cost.states == 7);
}
