// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "kernel/bpf.h"
#include "kernel/node_programs.h"
#include "kernel/pins.h"
#include "kernel/slots.h"

namespace weft::kernel {

class Carry;

/// What capture of one node depends on.
struct NodeCaptureOptions {
  std::string pins;             ///< See Pins.
  std::string cgroup;           ///< The cgroup v2 folder that all pods' processes are below.
  std::string proxyCgroup;      ///< Its processes are never captured.
  std::string probeCgroup;      ///< Connections of its processes to pods pass; empty: nobody's do.
  bool passWhenDown = false;    ///< What pods open goes out uncaptured while there is no proxy.
  std::vector<Part> without{};  ///< What is not even tried.
};

/// Capture of a node's pods in the kernel: loads the programs, attaches and pins them, and keeps
/// the tables of pods. What it did outlives it and its process. One thread at a time.
class NodeCapture {
 public:
  /// Loads everything afresh and puts it in the place of what is pinned there already, whose tables
  /// stay as they are: connections go on. Where tables have another layout they are carried over
  /// (see Carry), and programs change their tables one by one, each at once: nothing passes in
  /// between that did not before. A part that this kernel refuses is lost by itself (see parts),
  /// and what an earlier start had of it ends. An error leaves what was in force before, or what
  /// the next call brings to its end.
  static Result<std::unique_ptr<NodeCapture>> open(const NodeCaptureOptions& options);
  /// Takes every trace of a node away, whoever made it.
  static Status uninstall(const std::string& pins);

  /// Takes other cgroups for the proxy and for probes, and what happens without a proxy; all else
  /// of the options has no part in it.
  Status configure(const NodeCaptureOptions& options);
  /// Captures the pod whose network namespace has this cookie and these addresses. What a pod
  /// opened before is not touched. With `direct` it may have direct connections, where that part is
  /// not lost: only for a pod from whose addresses nobody else can send. With `sockmap` as well,
  /// those with others that may do it may go past TCP: only where a SockmapTier is. Idempotent: the
  /// last call counts, but for addresses, which are those of the call that first captured it.
  /// kConflict, and it is not captured, when another pod has one of them.
  Status enrol(int netns, uint64_t cookie, std::span<const Ip> addresses, bool direct,
               bool sockmap = false);
  /// Lets the proxy know that a pod asked for the sockmap tier, and that these gates of it fail
  /// here (a bit for each by weft_gate). Forgotten when it is opened again.
  Status refuseSockmap(uint32_t gates);
  /// Those that such a pod has; none for one that is not captured.
  std::vector<Ip> addresses(uint64_t cookie) const;
  /// Takes it away again; unknown ones are no error.
  Status release(uint64_t cookie);
  /// Whether such a pod is captured.
  bool has(uint64_t cookie) const;
  /// What capture can do without, and whether it is there.
  const std::vector<PartStatus>& parts() const { return programs_.parts; }
  /// By name, summed over the processors.
  std::map<std::string, uint64_t> counters() const;

 private:
  explicit NodeCapture(const std::string& pins) : pins_(pins) {}

  Status bringUp(const NodeCaptureOptions& options);
  static Result<std::unique_ptr<Carry>> share(const Pins& from, const Pins& to);
  Status loadPrograms(const Pins& home, const std::vector<Part>& without);
  Status openMaps(const Pins& home);
  Status attachAll(int cgroup);
  void dropLost();
  Status replaceLookup(bpf_object& lookup, uint64_t pod);
  void dropOthers();
  Status attach(bpf_object& object, int cgroup);
  Status attachLookup(int netns, uint64_t cookie);
  Status addTables(uint64_t cookie);
  Status setAddresses(uint64_t cookie, std::span<const Ip> addresses);
  void dropAddresses(uint64_t cookie);
  /// Forgets pods whose network namespaces are gone.
  void prune();

  Pins pins_;
  std::vector<Pins> others_;               ///< Layouts that are given up, while it opens.
  std::map<uint64_t, ObjectPtr> lookups_;  ///< Of pods that have one of another layout, meanwhile.
  NodePrograms programs_;
  std::set<std::string> attached_;  ///< Programs at the pods' cgroup, by name.
  UniqueFd config_;
  UniqueFd podsMap_;
  UniqueFd addresses_;
  UniqueFd origins_;
  UniqueFd passes_;
  UniqueFd directs_;
  UniqueFd verdicts_;
  UniqueFd counters_;
  UniqueFd sockmap_;
  Slots slots_;
};

}  // namespace weft::kernel
