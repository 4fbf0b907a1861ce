// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/worker.h"
#include "proxy/direct_paths.h"
#include "proxy/pod.h"

namespace weft::proxy {

/// One worker thread with its share of every pod. Methods may be called from any thread: each posts
/// to the worker.
class EngineWorker {
 public:
  EngineWorker(size_t index, const Settings& settings, CounterRow counters, EventQueue& queue,
               io::Captures& captures);
  /// close(), then joins the thread.
  ~EngineWorker();
  /// Ends all pods and drains, after all that was posted before, and waits for that. Not from the
  /// worker's own thread.
  void close();

  void setTables(std::shared_ptr<const Tables> tables);
  void setIdentity(std::shared_ptr<const tls::Identity> identity);
  void removeIdentity(std::string spiffeId);
  void setDenyList(std::shared_ptr<const tls::DenyList> list);
  void setTicketKeys(std::shared_ptr<tls::TicketKeys> keys);
  void addPod(PodSpec spec, UniqueFd netns, PodShare share, std::function<void(Status)> done);
  /// A connection that another worker accepted for the pod `uid`. Resets it when the pod whose
  /// listener it was is gone, or replaced.
  void handOver(std::string uid, Accepted accepted);
  /// Direct connections between pods of this node opened or ended: both are told of in the log and
  /// the totals, as the source and as the destination.
  void reportDirect(std::vector<DirectPaths::Told> all);
  void removePod(std::string uid, std::function<void()> done);
  /// Accepts at inherited listeners from now on.
  void takeOver();
  /// Duplicates of the listening sockets that the pod has here.
  void listeners(std::string uid, std::function<void(Listeners)> done);
  /// Closes the listening sockets that are here. What they accepted was handed over before `done`.
  void stopListening(std::function<void()> done);
  /// `done` gets how many connections had to be cut.
  void drain(uint64_t deadlineMs, std::function<void(size_t)> done);
  void snapshot(std::function<void(const std::string&)> done);
  /// What its handshakes computed so far.
  const crypto::BatchTotals& handshakeTotals() const { return state_->handshakes.totals(); }

 private:
  void report(const DirectPaths::Told& told);
  /// Every second, as long as the loop turns.
  void beat();
  void closePod(const std::string& uid, Reason reason, const std::string& detail);
  void closeAll(const std::string& detail);
  void waitForDrain(uint64_t untilMs);
  size_t openConnections() const;

  // The worker's thread ends before anything that its loop refers to goes: members die in reverse.
  std::unique_ptr<io::Worker> worker_;
  std::unique_ptr<WorkerState> state_;
  std::map<std::string, std::unique_ptr<Pod>> pods_;
  std::map<std::string, std::shared_ptr<const tls::Identity>> identities_;
  io::Captures& captures_;
  io::Timer beatTimer_;
  io::Timer drainTimer_;
  std::vector<std::function<void(size_t)>> drains_;  // told when the pods have ended
};

}  // namespace weft::proxy
