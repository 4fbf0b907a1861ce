// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace weft::kernel {

/// What became of one thing that was tried.
struct Feature {
  std::string name;
  Status status;  ///< Why it does not work here.
};

/// Tries each thing that capture builds on, one by one: loads a program that does little else,
/// attaches it, and looks whether it does that. `cgroup` is a folder of cgroup v2 that is made, or
/// empty where there is none. The process moves there and does not come back (see enterScratch), so
/// that it should do nothing else; a thread of its own does the work. Takes tens of milliseconds.
std::vector<Feature> probeKernel(const std::string& cgroup);

}  // namespace weft::kernel
