// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "io/capture.h"
#include "io/worker.h"
#include "proxy/direct_policy.h"
#include "proxy/pod.h"
#include "proxy/tables.h"
#include "tls/identity.h"

namespace weft::proxy {

/// Keeps what the kernel decides of connections between pods of this node in step with the tables,
/// cuts those that are no longer allowed, and reports all of them. A thread of its own does it;
/// methods may be called from any thread, and post to it.
class DirectPaths {
 public:
  /// Called on this thread, with the uids of both pods; an empty one is of a pod that is gone.
  using Report = std::function<void(const io::DirectEvent& event, const std::string& sourceUid,
                                    const std::string& destinationUid)>;
  DirectPaths(io::Captures& captures, Report report);
  /// Joins. What the kernel was told stays in force, so that connections go on without us.
  ~DirectPaths();

  void addPod(PodSpec spec, UniqueFd netns);
  void removePod(std::string uid);
  void setTables(std::shared_ptr<const Tables> tables);
  void setIdentity(std::shared_ptr<const tls::Identity> identity);
  void removeIdentity(std::string spiffeId);
  /// Whether the kernel decides connections between these workloads to that port by itself. Waits
  /// for this thread; not to be called on it.
  bool decides(const std::string& sourceUid, const std::string& destinationUid, uint16_t port);
  /// SPIFFE IDs that may have no connection at all.
  void setDenied(std::set<std::string> spiffeIds);

 private:
  struct Known {
    LocalPod pod;
    UniqueFd netns;
  };
  class Events;

  bool open();
  void soon();
  void publishAll();
  void sweep();
  const Known* byWorkload(const std::string& uid) const;
  bool hasVerdict(const LocalPod& source, const LocalPod& destination, uint16_t port) const;
  void endAllOf(const Known& gone);
  bool isAllowed(const io::DirectFlow& flow) const;
  void onEvents();
  std::vector<LocalPod> usable() const;
  const Known* byNetns(uint64_t netns) const;

  io::Captures& captures_;
  Report report_;
  std::unique_ptr<io::DirectPath> path_;
  std::unique_ptr<Events> events_;
  std::map<std::string, Known> pods_;
  std::map<std::string, uint64_t> expiries_;  // by SPIFFE ID
  std::set<std::string> denied_;
  std::shared_ptr<const Tables> tables_ = Tables::empty();
  std::map<uint64_t, std::vector<io::DirectVerdict>> published_;
  std::set<uint64_t> changed_;  // destinations that the next sweeps look into
  io::Timer soon_;
  io::Timer sweep_;
  // The thread ends before what it works with.
  std::unique_ptr<io::Worker> worker_;
};

}  // namespace weft::proxy
