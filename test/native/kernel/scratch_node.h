// SPDX-License-Identifier: Apache-2.0
// The kernel's part of a node, for one test: programs attached to a cgroup of the test's own and
// pinned in a folder of its own. Nothing of it is left afterwards.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "kernel/captures.h"
#include "kernel/net_namespace.h"
#include "kernel/node_capture.h"
#include "kernel/pins.h"

namespace weft::test {

/// Whether this process may do all that; says so in the test's notes when not.
bool hasRoot();

/// A folder of a BPF file system for one test.
class ScratchPins {
 public:
  ScratchPins();
  ~ScratchPins();
  ScratchPins(const ScratchPins&) = delete;
  ScratchPins& operator=(const ScratchPins&) = delete;
  const kernel::Pins& operator*() const { return pins_; }
  const kernel::Pins* operator->() const { return &pins_; }

 private:
  const kernel::Pins pins_;
};

/// Whose sockets this process opens.
enum class Role { kApplication, kProxy, kKubelet };

/// One node. This process is in its cgroup, as an application, until the node goes. One at a time.
/// Needs root, and aborts with the reason when the kernel refuses anything.
class ScratchNode {
 public:
  ScratchNode();
  ~ScratchNode();
  ScratchNode(const ScratchNode&) = delete;
  ScratchNode& operator=(const ScratchNode&) = delete;

  /// As the agent has it.
  kernel::NodeCapture& agent() { return *agent_; }
  /// As the proxy has it.
  kernel::KernelCaptures& proxy() { return *proxy_; }
  const kernel::Pins& pins() const { return *pins_; }
  const kernel::NodeCaptureOptions& options() const { return options_; }

  /// Whose sockets are opened from here on.
  void be(Role role) const;
  /// The proxy has not said for too long that it lives; before, it never said a word. On a machine
  /// that has just started this waits until that can be so.
  void hang() const;

 private:
  std::string folderOf(Role role) const;

  const ScratchPins pins_;
  const std::string home_;  ///< The cgroup that this process was in.
  const std::string top_;
  const kernel::NodeCaptureOptions options_;
  std::unique_ptr<kernel::NodeCapture> agent_;
  std::unique_ptr<kernel::KernelCaptures> proxy_;
};

/// How far each counter of a node went; those that did not are absent.
class CounterSteps {
 public:
  explicit CounterSteps(const kernel::NodeCapture& node) : node_(node), before_(node.counters()) {}
  /// Since the last call, or since this was made.
  std::map<std::string, uint64_t> take();

 private:
  const kernel::NodeCapture& node_;
  std::map<std::string, uint64_t> before_;
};

}  // namespace weft::test
