// SPDX-License-Identifier: Apache-2.0
// What this kernel makes of every program. The figures stand in the notes, where scripts/kernels
// reads them. Needs root.
#include "kernel/program_costs.h"

#include <doctest/doctest.h>

#include <cstdio>

#include "kernel/scratch_node.h"

using weft::kernel::BpfObject;
using weft::test::ProgramCost;

TEST_CASE("this kernel takes every program") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const weft::test::ScratchPins pins;
  for (const BpfObject& object :
       {weft::kernel::connectObject(), weft::kernel::sockopsObject(), weft::kernel::lookupObject(),
        weft::kernel::sockmapObject(), weft::kernel::carryObject()}) {
    const auto costs = weft::test::costsOf(object, pins->maps());
    INFO(costs.status().message());
    REQUIRE(costs.ok());
    CHECK_FALSE(costs.value().empty());
    for (const ProgramCost& cost : costs.value()) {
      std::printf("# program %s: %zu instructions, %zu translated, %u verified, %u states\n",
                  cost.name.c_str(), cost.instructions, cost.translated, cost.verified,
                  cost.states);
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
