// SPDX-License-Identifier: Apache-2.0
// The sockmap tier: data between two pods of one node goes past TCP, when both ask for it and the
// kernel passes the gates of kernel/sockmap_gates.h.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/status.h"
#include "kernel/sockmap.h"

namespace weft::kernel {

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
