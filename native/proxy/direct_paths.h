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
#include "proxy/balance.h"
#include "proxy/direct_policy.h"
#include "proxy/direct_services.h"
#include "proxy/pod.h"
#include "proxy/tables.h"
#include "tls/deny_list.h"
#include "tls/identity.h"

namespace weft::proxy {

/// Keeps what the kernel decides of connections between pods of this node in step with the tables,
/// cuts those that are no longer allowed, and reports all of them. A thread of its own does it;
/// methods may be called from any thread, and post to it.
class DirectPaths {
 public:
  /// What became of a connection, with the uids of both pods; an empty one is of a pod that is
  /// gone.
  struct Told {
    io::DirectEvent event;
    std::string sourceUid;
    std::string destinationUid;
  };
  /// Called on this thread with all that happened since the last time, in order; a while after it
  /// did, since whoever is told of each by itself takes more time than the connections do.
  using Report = std::function<void(std::vector<Told> all)>;
  struct Options {
    bool waits = false;  ///< The kernel is told nothing, and not heard, before begin().
    /// Else there are none: what the kernel was told before is withdrawn, and what is open ends.
    bool allowed = true;
  };
  DirectPaths(io::Captures& captures, Report report, Options options);
  /// Joins. What the kernel was told stays in force, so that connections go on without us.
  ~DirectPaths();

  void begin();
  /// Before begin() again. The kernel keeps what it was told; no event is taken from when this
  /// returns.
  void rest();
  /// What happens to its connections waits to be told until podIsOpen().
  void addPod(PodSpec spec, UniqueFd netns);
  /// Whoever is told knows that pod by now.
  void podIsOpen(std::string uid);
  void removePod(std::string uid);
  void setTables(std::shared_ptr<const Tables> tables);
  void setIdentity(std::shared_ptr<const tls::Identity> identity);
  void removeIdentity(std::string spiffeId);
  /// Where a connection may lead.
  struct End {
    std::string workloadUid;
    Endpoint target;
  };
  /// For each of `ends`, whether the kernel decides connections of the workload `sourceUid` to
  /// `asked` by itself if they lead there. Waits for this thread; not to be called on it.
  std::vector<bool> decides(const std::string& sourceUid, const Endpoint& asked,
                            const std::vector<End>& ends);
  /// Pods that are on it, or whose certificate is, have no direct connection at all.
  void setDenyList(std::shared_ptr<const tls::DenyList> list);
  /// Pods may have direct connections that had none, or the other way round: what is open between
  /// others ends.
  void changed();

 private:
  struct Known {
    LocalPod pod;
    UniqueFd netns;
    bool isOpen = false;
  };
  struct Certificate {
    uint64_t expiresNs = 0;
    std::string serial;
  };
  class Events;

  bool open();
  void leave();
  void soon();
  void publishAll();
  void publishServices();
  void learn(const io::DirectEvent& event, const Known& destination);
  void sweep();
  const Known* byWorkload(const std::string& uid) const;
  bool hasVerdict(const LocalPod& source, const LocalPod& destination, uint16_t port) const;
  bool leads(const Known& source, const Endpoint& asked, const End& end) const;
  void endAllOf(const Known& gone);
  void put(uint64_t netns, std::vector<io::DirectVerdict>& rows);
  bool isDenied(const LocalPod& pod) const;
  bool isAllowed(const io::DirectFlow& flow) const;
  void onEvents();
  void tell();
  bool mayCome(uint64_t netns) const;
  std::vector<LocalPod> usable() const;
  const Known* byNetns(uint64_t netns) const;

  io::Captures& captures_;
  Report report_;
  bool waits_;
  const bool allowed_;
  std::unique_ptr<io::DirectPath> path_;
  std::unique_ptr<Events> events_;
  std::map<std::string, Known> pods_;
  std::vector<io::DirectEvent> untold_;              // in order
  uint64_t knownAtMs_ = 0;                           // when all pods of the node are
  std::set<uint64_t> gone_;                          // those that were removed before that
  std::map<std::string, Certificate> certificates_;  // by SPIFFE ID
  std::shared_ptr<const tls::DenyList> denied_;
  std::shared_ptr<const Tables> tables_ = Tables::empty();
  std::map<uint64_t, std::vector<io::DirectVerdict>> published_;  // none: withdrawn
  Balancer balancer_{1};        // what the kernel picks from, without what failed
  DirectServices services_;     // published
  std::set<uint64_t> changed_;  // destinations that the next sweeps look into
  bool mustSweep_ = false;      // open connections may have to end, though no row changes
  bool mustSweepAll_ = false;   // and both ends of them, at every destination
  io::Timer soon_;
  io::Timer gather_;
  io::Timer sweep_;
  io::Timer comeBack_;  // of endpoints that failed
  // The thread ends before what it works with.
  std::unique_ptr<io::Worker> worker_;
};

}  // namespace weft::proxy
