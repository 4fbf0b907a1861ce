// SPDX-License-Identifier: Apache-2.0
#include "kernel/sockmap_gates.h"

#include <bpf/bpf.h>
#include <sys/utsname.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <tuple>
#include <utility>

#include "kernel/sockmap_rig.h"
#include "kernel/sockmap_trials.h"

namespace weft::kernel {
namespace {

constexpr const char* kGateNames[] = {
#define WEFT_GATE_NAME(name, text) text,
    WEFT_GATES(WEFT_GATE_NAME)
#undef WEFT_GATE_NAME
};

using Version = std::tuple<unsigned, unsigned, unsigned>;

std::optional<Version> versionIn(const char* text, const char* format) {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned patch = 0;
  return std::sscanf(text, format, &major, &minor, &patch) == 3
             ? std::optional(Version{major, minor, patch})
             : std::nullopt;
}

std::string tryLockdown() {
  std::string modes;
  std::getline(std::ifstream("/sys/kernel/security/lockdown"), modes);
  return modes.find("[confidentiality]") == std::string::npos
             ? ""
             : "the kernel is locked down: its memory may not be read";
}

/// Two programs for the same sockets stand in each other's way.
std::string tryForeignPrograms() {
  uint32_t id = 0;
  while (bpf_prog_get_next_id(id, &id) == 0) {
    const UniqueFd program(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    uint32_t size = sizeof info;
    if (!program || bpf_prog_get_info_by_fd(program.get(), &info, &size) != 0) {
      continue;
    }
    const bool isKind = info.type == BPF_PROG_TYPE_SK_MSG || info.type == BPF_PROG_TYPE_SK_SKB;
    const std::string name(info.name);
    if (isKind && !name.starts_with("weft_")) {
      return "somebody else has the sockmap program " + name + " (id " + std::to_string(id) + ")";
    }
  }
  return "";
}

std::string tryDuplicates() {
  utsname names{};
  ::uname(&names);
  return hasDuplicatesFix(names.release, names.version)
             ? ""
             : std::string(names.release) + " may send data twice (by a table of versions)";
}

/// The trials that need the rig, by gate.
const std::array<std::pair<weft_gate, std::string (*)(SockmapRig&)>, 8> kTrials = {{
    {WEFT_GATE_KERNEL_MEMORY, tryKernelMemory},
    {WEFT_GATE_REDIRECT, tryRedirect},
    {WEFT_GATE_FIONREAD_PASSED, tryFionreadPassed},
    {WEFT_GATE_FIONREAD_REDIRECTED, tryFionreadRedirected},
    {WEFT_GATE_RECEIVE_CHARGE, tryReceiveCharge},
    {WEFT_GATE_BLOCKING_RECV, tryBlockingRecv},
    {WEFT_GATE_SPLICE, trySplice},
    {WEFT_GATE_ORDER, tryOrder},
}};

}  // namespace

bool hasDuplicatesFix(const std::string& release, const std::string& version) {
  // Debian's release names no patch level, but its version does.
  const char* debian = std::strstr(version.c_str(), "Debian ");
  const std::optional<Version> found = debian == nullptr ? versionIn(release.c_str(), "%u.%u.%u")
                                                         : versionIn(debian, "Debian %u.%u.%u");
  if (!found.has_value()) {
    return false;
  }
  const auto [major, minor, patch] = *found;
  constexpr Version kFirst[] = {{5, 15, 186}, {6, 1, 142}, {6, 6, 94}, {6, 12, 34}, {6, 15, 3}};
  for (const auto& [fixedMajor, fixedMinor, fixedPatch] : kFirst) {
    if (major == fixedMajor && minor == fixedMinor) {
      return patch >= fixedPatch;
    }
  }
  return std::tie(major, minor) >= std::make_tuple(6U, 16U);
}

std::vector<GateResult> trySockmapGates() {
  std::array<std::optional<std::string>, WEFT_GATE_MAX> reasons;
  reasons[WEFT_GATE_LOCKDOWN] = tryLockdown();
  reasons[WEFT_GATE_FOREIGN_PROGRAMS] = tryForeignPrograms();
  reasons[WEFT_GATE_DUPLICATES] = tryDuplicates();
  Result<std::unique_ptr<SockmapRig>> rig = SockmapRig::open();
  reasons[WEFT_GATE_LOADS] = rig.ok() ? "" : rig.status().message();
  if (rig.ok()) {
    for (const auto& [gate, trial] : kTrials) {
      reasons[gate] = trial(*rig.value());
    }
  }
  std::vector<GateResult> results;
  for (uint32_t i = 0; i < WEFT_GATE_MAX; i++) {
    std::string reason = reasons[i].value_or("not tried, since the programs do not load");
    results.push_back({static_cast<weft_gate>(i), kGateNames[i], reason.empty(), reason});
  }
  return results;
}

uint32_t refusedBits(const std::vector<GateResult>& results) {
  uint32_t bits = 0;
  for (const GateResult& result : results) {
    bits |= result.ok ? 0U : 1U << result.gate;
  }
  return bits;
}

std::vector<std::string> gateNames(uint32_t bits) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < WEFT_GATE_MAX; i++) {
    if ((bits & (1U << i)) != 0) {
      names.emplace_back(kGateNames[i]);
    }
  }
  return names;
}

}  // namespace weft::kernel
