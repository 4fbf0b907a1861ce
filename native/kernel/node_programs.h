// SPDX-License-Identifier: Apache-2.0
// Which programs of capture a kernel takes. Capture itself it has to take; each part that capture
// can do without is an object of its own, or has objects with it and without it, and is lost alone.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernel/bpf.h"

namespace weft::kernel {

/// What capture can do without, from what most is lost with. Services build on direct connections.
enum class Part { kDirect, kServices, kDns, kOwnName };
inline constexpr std::array<const char*, 4> kPartNames{"direct", "services", "dns", "own_name"};

/// What became of one part: why it is not there, if it is not.
struct PartStatus {
  Part part;
  Status status;
};

/// The programs of one node, loaded and attached to nothing yet.
struct NodePrograms {
  ObjectPtr connect;
  ObjectPtr sockops;
  ObjectPtr dns;      ///< None when it is lost.
  ObjectPtr ownName;  ///< The same.
  BpfObject lookup;   ///< What each pod gets an instance of.
  std::vector<PartStatus> parts;

  bool has(Part part) const;
  /// Lets go of what is attached by now.
  void drop();
};

/// Loads the fullest programs that this kernel takes, but for the parts in `without`, which are
/// told as not wanted; maps stand in `mapsFolder`. Fails when it refuses capture without any part.
Result<NodePrograms> loadNodePrograms(const std::string& mapsFolder,
                                      const std::vector<Part>& without);

/// The instance of `lookup` for the pod whose network namespace has this cookie.
Result<ObjectPtr> loadLookup(const BpfObject& lookup, const std::string& mapsFolder, uint64_t pod);

}  // namespace weft::kernel
