// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "kernel/bpf.h"

namespace weft::test {

/// What one program is to the kernel.
struct ProgramCost {
  std::string name;
  size_t instructions = 0;  ///< In the object.
  size_t translated = 0;    ///< In the kernel: some helpers are put in their places.
  unsigned verified = 0;    ///< That the verifier looked at, each as often as it did.
  unsigned states = 0;      ///< That it kept.
};

/// What the verifier says at the end: all zero where it said nothing.
inline void readVerifierLog(const char* log, ProgramCost& cost) {
  constexpr const char* kFormat =
      "processed %u insns (limit %u) max_states_per_insn %u total_states %u";
  unsigned limit = 0;
  unsigned perInstruction = 0;
  const char* line = std::strstr(log, "processed ");
  if (line == nullptr ||
      std::sscanf(line, kFormat, &cost.verified, &limit, &perInstruction, &cost.states) != 4) {
    cost.verified = 0;
    cost.states = 0;
  }
}

/// All that programs may be told that this kernel can, so that no part of them is left out.
inline void turnAllOn(bpf_object& object) {
  constexpr weft_abilities kAll{1, 1, 1};
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, &object) {
    size_t size = 0;
    void* value = bpf_map__initial_value(map, &size);
    if (value != nullptr && size == sizeof kAll &&
        std::string(bpf_map__name(map)).ends_with(".rodata")) {
      std::memcpy(value, &kAll, sizeof kAll);
    }
  }
}

/// Loads an object and tells what each of its programs is to this kernel.
inline Result<std::vector<ProgramCost>> costsOf(const kernel::BpfObject& object,
                                                const std::string& mapsFolder) {
  constexpr uint32_t kLogStats = 4;
  std::map<std::string, std::array<char, 4096>> logs;
  const auto loaded = kernel::load(object, mapsFolder, [&](bpf_object& opened) {
    turnAllOn(opened);
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, &opened) {
      auto& log = logs[bpf_program__name(program)];
      bpf_program__set_log_level(program, kLogStats);
      bpf_program__set_log_buf(program, log.data(), log.size());
    }
    return Status{};
  });
  if (!loaded.ok()) {
    return loaded.status();
  }
  std::vector<ProgramCost> costs;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, loaded.value().get()) {
    bpf_prog_info info{};
    uint32_t size = sizeof info;
    if (bpf_prog_get_info_by_fd(bpf_program__fd(program), &info, &size) != 0) {
      return kernel::bpfError("a program's description", errno);
    }
    ProgramCost cost{bpf_program__name(program), bpf_program__insn_cnt(program),
                     info.xlated_prog_len / sizeof(bpf_insn)};
    readVerifierLog(logs[cost.name].data(), cost);
    costs.push_back(cost);
  }
  return costs;
}

}  // namespace weft::test
