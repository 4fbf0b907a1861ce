// SPDX-License-Identifier: Apache-2.0
// Programs that stay attached when their process is gone: by links that are pinned.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"

namespace weft::kernel {

struct DestroyLink {
  void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
/// A link that ends with its owner, unless it is pinned.
using LinkPtr = std::unique_ptr<bpf_link, DestroyLink>;

/// The cgroup or network namespace that the link `link` is attached to; 0 when that is gone.
uint64_t targetOf(int link);

/// Ends a pinned link at once, whoever still holds it. None is no error.
void dropLink(const std::string& path);

/// Pins at `path` the link that is pinned at `elsewhere`, when it is attached to `target` and
/// nothing is at `path` yet. One that is attached elsewhere ends.
Status adopt(const std::string& path, const std::string& elsewhere, uint64_t target);

/// Puts `program` in the place of the one that the link pinned at `path` runs, when it is attached
/// to `target`; else attaches it by `attachNew`, whose result it owns, and pins that.
Status pinAttached(const bpf_program& program, const std::string& path, uint64_t target,
                   const std::function<bpf_link*()>& attachNew);

}  // namespace weft::kernel
