// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mesh_abi.h"

namespace weft::kernel {

/// What one gate of the sockmap tier says of this kernel.
struct GateResult {
  weft_gate gate;
  std::string name;  ///< As in WEFT_GATES; stable.
  bool ok = false;
  std::string reason;  ///< Why it fails; empty when it does not.
};

/// Tries all gates on this kernel, with real sockets in a network namespace of their own: some
/// hundred milliseconds, in which the calling thread waits. One result for each gate, in the order
/// of WEFT_GATES. One that could not be tried fails. Needs root.
std::vector<GateResult> trySockmapGates();

/// Those of the gates that fail, a bit for each by weft_gate.
uint32_t refusedBits(const std::vector<GateResult>& results);

/// The names in the order of WEFT_GATES of the gates whose bits are set.
std::vector<std::string> gateNames(uint32_t bits);

/// Whether a kernel of this version has "fix duplicated data transmission" (3b4f14b7), which nobody
/// can try: it needs memory to run out in a worker of the kernel's. By `release` and `version` of
/// uname(2), of which distributions tell the upstream version in either.
bool hasDuplicatesFix(const std::string& release, const std::string& version);

}  // namespace weft::kernel
