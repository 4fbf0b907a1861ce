// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "base/status.h"

namespace weft::kernel {

/// Links BPF object files into one, as a loader takes it: symbols resolved, sections merged,
/// debugging information dropped but for BTF. kInvalid with libbpf's words when they do not fit
/// together.
Status linkObjects(const std::string& out, std::span<const std::string> inputs);

}  // namespace weft::kernel
