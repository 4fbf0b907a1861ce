// SPDX-License-Identifier: Apache-2.0
// What the gates say, against what this kernel does: a known limit shows as a gate that refuses.
// Needs root.
#include "kernel/sockmap_gates.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

using weft::kernel::gateNames;
using weft::kernel::GateResult;
using weft::kernel::hasDuplicatesFix;
using weft::kernel::refusedBits;

TEST_CASE("which kernels may send data twice is read from their version") {
  for (const char* release : {"5.15.186", "6.1.142-generic", "6.6.94", "6.12.34", "6.15.3",
                              "6.16.0", "6.18.44-fc-v595", "7.0.1"}) {
    INFO(release);
    CHECK(hasDuplicatesFix(release, "#1 SMP"));
  }
  for (const char* release : {"5.10.240", "5.15.185", "6.1.141", "6.6.93", "6.8.12-generic",
                              "6.11.0", "6.12.33", "6.13.12", "6.14.11", "6.15.2", "6.16", ""}) {
    INFO(release);
    CHECK_FALSE(hasDuplicatesFix(release, "#1 SMP"));
  }
  CHECK(hasDuplicatesFix("6.1.0-44-cloud-amd64",
                         "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-09-12)"));
  CHECK_FALSE(hasDuplicatesFix("6.1.0-30-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.124-1"));
}

TEST_CASE("each gate has a name, a result, and a reason when it refuses") {
  if (::geteuid() != 0) {
    std::printf("# not run: needs root\n");
    return;
  }
  const std::vector<GateResult> results = weft::kernel::trySockmapGates();
  REQUIRE(results.size() == WEFT_GATE_MAX);
  std::vector<std::string> refused;
  for (size_t i = 0; i < results.size(); i++) {
    INFO(results[i].name);
    CHECK(results[i].gate == static_cast<weft_gate>(i));
    CHECK(results[i].ok == results[i].reason.empty());
    std::printf("# gate %s: %s\n", results[i].name.c_str(),
                results[i].ok ? "holds" : results[i].reason.c_str());
    if (!results[i].ok) {
      refused.push_back(results[i].name);
    }
  }
  CHECK(gateNames(refusedBits(results)) == refused);
  CHECK(gateNames(0).empty());
  // The programs themselves are sound wherever they load: what may fail is the kernel's.
  for (const weft_gate gate : {WEFT_GATE_LOADS, WEFT_GATE_KERNEL_MEMORY, WEFT_GATE_REDIRECT,
                               WEFT_GATE_RECEIVE_CHARGE, WEFT_GATE_ORDER}) {
    INFO(results[gate].name, ": ", results[gate].reason);
    CHECK(results[gate].ok);
  }
}
