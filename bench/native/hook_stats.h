// SPDX-License-Identifier: Apache-2.0
// How often the kernel ran each program of a node, and how long that took, as it counts itself.
#pragma once

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "kernel/bpf.h"
#include "kernel/pins.h"

namespace weft::bench {

/// Of one program; those of several pods are counted together.
struct Runs {
  uint64_t count = 0;
  uint64_t ns = 0;
};
using RunsByProgram = std::map<std::string, Runs>;

/// What cannot be measured ends the program, with the reason.
inline void need(bool ok, const char* what) {
  if (!ok) {
    std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
    std::exit(1);
  }
}

/// The kernel counts while this lives. Needs root.
class HookStats {
 public:
  HookStats() : counting_(bpf_enable_stats(BPF_STATS_RUN_TIME)) {
    need(counting_.get() >= 0, "count runs of programs (Linux 5.8)");
  }

  /// Looks at all that is pinned there from here on.
  void follow(const kernel::Pins& pins) {
    for (const std::string& folder : {pins.links(), pins.pods()}) {
      std::error_code error;
      for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        const UniqueFd link(bpf_obj_get(entry.path().c_str()));
        bpf_link_info info{};
        uint32_t size = sizeof info;
        need(bpf_link_get_info_by_fd(link.get(), &info, &size) == 0, "a pinned link");
        UniqueFd program(bpf_prog_get_fd_by_id(info.prog_id));
        need(program.get() >= 0, "the program of a link");
        // Links have the names of their programs in full; those of pods have one program.
        const bool isOfPod = folder == pins.pods();
        const std::string name = isOfPod ? infoOf(program.get()).name : entry.path().filename();
        programs_.emplace_back(name, std::move(program));
      }
    }
    need(!programs_.empty(), pins.root().c_str());
  }

  /// All that was counted since a program was loaded.
  RunsByProgram read() const {
    RunsByProgram all;
    for (const auto& [name, program] : programs_) {
      const bpf_prog_info info = infoOf(program.get());
      Runs& runs = all[name];
      runs.count += info.run_cnt;
      runs.ns += info.run_time_ns;
    }
    return all;
  }

  /// Nanoseconds that a program which does nothing is said to take: the clock's own.
  static double clockNs() {
    constexpr uint32_t kTimes = 100'000;
    const std::array<bpf_insn, 2> nothing = {
        bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, SK_PASS},
        bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    };
    bpf_prog_load_opts options{};
    options.sz = sizeof options;
    options.expected_attach_type = BPF_SK_LOOKUP;
    const UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_SK_LOOKUP, "weft_nothing", "GPL",
                                         nothing.data(), nothing.size(), &options));
    need(program.get() >= 0, "a program that does nothing");
    bpf_sk_lookup context{};
    context.family = 2;  // IPv4
    bpf_test_run_opts run{};
    run.sz = sizeof run;
    run.ctx_in = &context;
    run.ctx_size_in = sizeof context;
    run.repeat = kTimes;
    need(bpf_prog_test_run_opts(program.get(), &run) == 0, "run a program that does nothing");
    const bpf_prog_info info = infoOf(program.get());
    return static_cast<double>(info.run_time_ns) / static_cast<double>(info.run_cnt);
  }

 private:
  static bpf_prog_info infoOf(int program) {
    bpf_prog_info info{};
    uint32_t size = sizeof info;
    need(bpf_prog_get_info_by_fd(program, &info, &size) == 0, "a program's description");
    return info;
  }

  const UniqueFd counting_;
  std::vector<std::pair<std::string, UniqueFd>> programs_;
};

/// What was counted between two readings; programs that did not run are absent.
inline RunsByProgram between(const RunsByProgram& before, const RunsByProgram& after) {
  RunsByProgram steps;
  for (const auto& [name, runs] : after) {
    const auto old = before.find(name);
    const Runs first = old == before.end() ? Runs{} : old->second;
    if (runs.count != first.count) {
      steps[name] = {runs.count - first.count, runs.ns - first.ns};
    }
  }
  return steps;
}

/// As an object of JSON: runs and nanoseconds by program.
inline std::string jsonOf(const RunsByProgram& all) {
  std::string text;
  for (const auto& [name, runs] : all) {
    text += (text.empty() ? "\"" : ", \"") + name + "\": {\"runs\": " + std::to_string(runs.count) +
            ", \"ns\": " + std::to_string(runs.ns) + "}";
  }
  return "{" + text + "}";
}

}  // namespace weft::bench
