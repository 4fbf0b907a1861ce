// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/counters.h"
#include "base/unique_fd.h"
#include "crypto/mode.h"
#include "io/capture.h"
#include "proxy/events.h"
#include "proxy/explain.h"
#include "proxy/pod.h"
#include "proxy/settings.h"
#include "proxy/tables.h"
#include "tls/identity.h"

namespace weft::proxy {

class DirectPaths;
class EngineWorker;

/// The data plane of one process: worker threads, and the ways in and out of them. All methods are
/// for one control thread. Callbacks come on a worker's thread and must not block.
class Engine {
 public:
  using Done = std::function<void(Status)>;

  /// `onEvents` says that takeEvents() has something; without `captures` pods are captured by
  /// netfilter.
  Engine(Settings settings, std::function<void()> onEvents,
         std::unique_ptr<io::Captures> captures = nullptr);
  /// Ends all connections and joins the threads.
  ~Engine();

  /// Applies an encoded weft.tables.TablesDelta whole, or returns why not and changes nothing.
  Status apply(std::span<const uint8_t> delta);
  std::shared_ptr<const Tables> tables() const { return tables_; }

  /// What the tables, and what the kernel was told, say of a connection of the workload
  /// `sourceUid`. Changes nothing.
  Result<Explanation> explain(std::string_view sourceUid, const Endpoint& destination) const;
  io::CaptureStats captureStats() { return captures_->stats(); }

  /// Adds or renews: pods of that identity use it from now on, and their older tunnels take no new
  /// streams.
  void setIdentity(const std::shared_ptr<const tls::Identity>& identity);
  void removeIdentity(const std::string& spiffeId);

  /// Peers of these SPIFFE IDs, and leaves of these serial numbers (hexadecimal), are refused from
  /// now on; open tunnels with them are cut. Replaces the list before it.
  void setDenyList(const std::vector<std::string>& identities,
                   const std::vector<std::string>& serials);

  /// Opens the pod's part in every worker, and its listeners in one: those of `inherited`, which
  /// another process listened with before, or fresh ones. `done` comes once: ok when
  /// they accept, else the first error, with nothing left open. A pod of the same uid is closed
  /// first.
  void addPod(const PodSpec& spec, const UniqueFd& netns, Done done, Listeners inherited = {});
  /// Ends the pod's listeners and connections. An unknown uid is no error.
  void removePod(const std::string& uid, Done done);

  /// Duplicates of the pod's listening sockets, for the process that takes over. On a worker's
  /// thread; none for an unknown uid.
  void listeners(const std::string& uid, std::function<void(Listeners)> done);
  /// Settings::takesOver: the other process has let go. Inherited listeners are served, and direct
  /// connections kept in step.
  void takeOver();
  /// The other side of it: direct connections are another process's from when this returns, and
  /// ours again after takeOver().
  void releaseDirect();
  /// The kernel lets other pods than before have direct connections: those of others end.
  void directChanged();

  /// Stops listening, takes no more pods, tells peers, and calls `done` when all connections have
  /// ended, at the latest after `deadlineMs`, with how many were cut then.
  void drain(uint64_t deadlineMs, std::function<void(size_t)> done);

  /// What is open now. `done` comes once, with an encoded weft.events.EngineSnapshot.
  void snapshot(std::function<void(std::string)> done);

  /// How handshakes compute, and what they have, of each worker.
  crypto::Mode cryptoMode() const { return cryptoMode_; }
  std::vector<const crypto::BatchTotals*> handshakeTotals() const;

  /// An encoded weft.events.EventBatch; empty when there is nothing.
  std::string takeEvents() { return events_.take(); }
  /// May outlive the engine.
  std::shared_ptr<CounterTable> counters() const { return counters_; }

 private:
  size_t listenerOf(const std::string& uid) const;
  PodShare shareOf(const std::string& uid, Listeners inherited);

  Settings settings_;
  const crypto::Mode cryptoMode_;
  std::unique_ptr<io::Captures> captures_;
  EventQueue events_;
  std::shared_ptr<CounterTable> counters_;
  std::shared_ptr<SharedSum> nodeBytes_;
  bool draining_ = false;
  std::shared_ptr<const Tables> tables_ = Tables::empty();
  uint64_t denyListEpoch_ = 0;
  std::vector<std::unique_ptr<EngineWorker>> workers_;
  std::unique_ptr<DirectPaths> direct_;  // null when pods of this node have tunnels, too
};

}  // namespace weft::proxy
