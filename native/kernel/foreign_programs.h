// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace weft::kernel {

/// A program of somebody else's on a hook that ours are attached to.
struct ForeignProgram {
  std::string name;   ///< As it calls itself, cut to 15 characters by the kernel; may be empty.
  std::string hook;   ///< "connect4", "sk_lookup", ...
  std::string place;  ///< The cgroup's folder; or that it is the network namespace.
};

/// Those on the cgroup `folder`, on each cgroup above it, and on this process's network namespace.
/// Ours are not among them: their names begin with weft_. An error when the kernel does not tell.
Result<std::vector<ForeignProgram>> foreignPrograms(const std::string& folder);

}  // namespace weft::kernel
