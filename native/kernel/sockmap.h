// SPDX-License-Identifier: Apache-2.0
// The sockmap tier: data between two pods of one node goes past TCP, when both ask for it and the
// kernel passes the gates of kernel/sockmap_gates.h. See bpf/sockmap.bpf.c.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "kernel/bpf.h"
#include "kernel/links.h"
#include "kernel/pins.h"

namespace weft::kernel {

/// The programs of one object, ready for sockets. One thread at a time.
class SockmapPrograms {
 public:
  /// Makes `object`, which is loaded, serve the sockets in its maps: those that are enrolled there
  /// already go on under its program.
  static Result<SockmapPrograms> install(ObjectPtr object);

  /// Enrols those sockets of the thread's own network namespace that may be, in one pass over them.
  Status promote() const;
  /// A map of the object, which owns it; -1 for a name that it does not have.
  int map(const char* name) const;
  bpf_object& object() const { return *object_; }

 private:
  SockmapPrograms(ObjectPtr object, LinkPtr promoter)
      : object_(std::move(object)), promoter_(std::move(promoter)) {}

  ObjectPtr object_;
  LinkPtr promoter_;
};

/// The tier of one node, beside its capture. What is enrolled goes on without this object and its
/// process, and is taken over by the next. One thread at a time.
class SockmapTier {
 public:
  /// For pods whose capture is pinned at `pins`, and whose processes are below `cgroup`. It does
  /// not ask whether the gates hold. kInternal when the kernel refuses the programs: nothing has
  /// changed then.
  static Result<std::unique_ptr<SockmapTier>> open(const std::string& pins,
                                                   const std::string& cgroup);

  /// Enrols what may be of the sockets in `netns`: those of direct connections between two pods
  /// that both have WEFT_POD_SOCKMAP. Enters it on a thread of its own.
  Status promote(int netns) const;

 private:
  explicit SockmapTier(SockmapPrograms programs) : programs_(std::move(programs)) {}

  SockmapPrograms programs_;
};

}  // namespace weft::kernel
