// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/ip.h"
#include "base/status.h"
#include "kernel/bpf.h"
#include "kernel/links.h"
#include "probe_abi.h"

namespace weft::kernel {

/// One program of an object in bpf/probe, loaded without the others there. It is attached, and the
/// kernel keeps it, no longer than this object lives.
class TriedProgram {
 public:
  /// `plan` is where it is to lead connections, or what it is to call them.
  static Result<TriedProgram> load(const BpfObject& object, const char* name, const Endpoint& plan);

  Status attachToCgroup(int cgroup);
  Status attachToNetns(int netns);
  /// Runs an iterator once: over the sockets of the thread's namespace, or over those in its map of
  /// that name.
  Status iterate(const char* map = nullptr);

  /// What it saw until now.
  weft_probe_seen seen() const;
  int fd() const { return bpf_program__fd(program_); }
  int link() const { return bpf_link__fd(link_.get()); }
  /// A map of its object; negative when there is none of that name.
  int map(const char* name) const;

 private:
  TriedProgram(ObjectPtr object, bpf_program* program)
      : object_(std::move(object)), program_(program) {}
  Status keep(bpf_link* link);

  ObjectPtr object_;
  bpf_program* program_;
  LinkPtr link_;
};

}  // namespace weft::kernel
