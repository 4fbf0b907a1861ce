// SPDX-License-Identifier: Apache-2.0
// Where the kernel's part of a node is pinned: a folder of a BPF file system, with a folder for
// each layout of the maps in it. What is pinned there goes on without any process of ours.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace weft::kernel {

/// The paths below one node's folder. Nothing is made here.
class Pins {
 public:
  /// Of this program's own layout.
  explicit Pins(const std::string& folder);
  /// Those of all other layouts that something is pinned for, the newest first.
  std::vector<Pins> others() const;
  /// Where this layout is made ready.
  Pins draft() const;

  const std::string& root() const { return root_; }
  const std::string& version() const { return version_; }
  const std::string& maps() const { return maps_; }
  const std::string& links() const { return links_; }
  const std::string& pods() const { return pods_; }
  std::string map(const std::string& name) const { return maps_ + "/" + name; }
  std::string link(const std::string& program) const { return links_ + "/" + program; }
  /// The link of the pod with this network namespace.
  std::string pod(uint64_t netns) const;

  /// Makes the folders; where `root` is not in a BPF file system, one is mounted on it. 0700.
  Status make() const;
  /// Whether this layout has a folder.
  bool exists() const;
  /// Puts a draft that is ready in the place of this layout, which has no folder yet: at once.
  Status accept(const Pins& draft) const;
  /// Removes the folder of this layout alone. What is pinned elsewhere, too, goes on.
  void drop() const;
  /// Removes everything, and unmounts what make() mounted. What is attached only by pins ends.
  Status remove() const;

 private:
  Pins(std::string root, std::string version);

  std::string root_;
  std::string version_;
  std::string maps_;
  std::string links_;
  std::string pods_;
};

}  // namespace weft::kernel
