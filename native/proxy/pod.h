// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/counters.h"
#include "base/unique_fd.h"
#include "crypto/mode.h"
#include "io/capture.h"
#include "io/loop.h"
#include "io/spare_sockets.h"
#include "io/sys.h"
#include "proxy/budget.h"
#include "proxy/connect_request.h"
#include "proxy/event_sink.h"
#include "proxy/events.h"
#include "proxy/handshake_batch.h"
#include "proxy/route.h"
#include "proxy/settings.h"
#include "proxy/snapshot.h"
#include "proxy/spread.h"
#include "proxy/tables.h"
#include "tls/identity.h"
#include "tls/session.h"
#include "tls/verify.h"

namespace weft::proxy {

class Inbound;
class Listener;
class Outbound;
class Pod;
class Pool;

/// What the pods of one worker share. Lives on that worker's thread.
struct WorkerState {
  WorkerState(size_t indexIn, io::Loop& loopIn, const Settings& settingsIn, CounterRow countersIn,
              EventQueue& queue, io::Captures& capturesIn, uint64_t seed)
      : index(indexIn),
        loop(loopIn),
        settings(settingsIn),
        counters(countersIn),
        events(loopIn, queue, countersIn, settingsIn),
        captures(capturesIn),
        random(seed),
        balancer(seed),
        handshakes(loopIn, crypto::chooseMode(settingsIn.crypto).value(),
                   settingsIn.limits.handshakeFibers),
        cipher(kTunnelReadBytes),
        plain(kTunnelReadBytes + tls::kRecordBytesMax) {
    tls.row = settings.tlsRow;
    tls.leaves = tls::VerifiedLeaves(settings.limits.verifiedLeaves);
    tls.batch = handshakes.batch();
  }

  const size_t index;  ///< Among the engine's workers.
  io::Loop& loop;
  const Settings& settings;
  CounterRow counters;
  EventSink events;
  io::Captures& captures;
  Random random;
  tls::SessionContext tls;
  Balancer balancer;
  HandshakeBatch handshakes;
  std::shared_ptr<const Tables> tables = Tables::empty();
  // Scratch for one tunnel read at a time: an idle tunnel holds no buffer of its own.
  std::vector<uint8_t> cipher;
  std::vector<uint8_t> plain;
  /// Another process accepts for listeners that it had before us.
  bool waits = false;
};

/// Anything of a pod that holds a socket. Registered with its pod, which ends it when the pod goes.
class Connection : public io::Pollable {
 public:
  explicit Connection(Pod& pod) : pod_(pod) {}

  /// Ends it at once, by reset where a peer would otherwise take the end for a clean one.
  virtual void abort(const Outcome& outcome) = 0;
  /// Policy or routes changed: ends itself when it is no longer allowed, or leads elsewhere.
  virtual void reauthorize() {}
  /// The deny list changed: ends itself when its peer is on it.
  virtual void recheckPeer() {}
  /// The pod has another certificate now.
  virtual void onIdentity() {}
  /// Adds what it is to the snapshot.
  virtual void describe(Snapshot&) const {}
  /// The engine is going down: ends itself as soon as that harms nobody.
  virtual void drain() {}
  /// Outbound: the claim on the endpoint, held until the connection ends.
  void hold(Lease lease) { lease_ = std::move(lease); }
  /// Inbound: its place among what its source has, kept until the connection ends.
  void keep(Claim claim) { claim_ = std::move(claim); }

 protected:
  /// Leaves the pod and dies at the end of the turn. After it only onReady() and the like may still
  /// come, and must do nothing.
  void release();
  bool released() const { return released_; }

  Pod& pod_;
  Lease lease_;

 private:
  friend class Pod;
  Claim claim_;
  bool released_ = false;
  bool counted_ = false;  // against the pod's connections
};

struct PodSpec {
  std::string uid;
  std::string workloadUid;
  std::string spiffeId;
};

/// Listening sockets of one pod, by port.
using Listeners = std::map<uint16_t, UniqueFd>;

/// What the parts of one pod in all workers have in common.
struct PodShare {
  std::shared_ptr<PodBudget> budget;
  std::shared_ptr<Spread> spread;
  HandOver handOver;  ///< May be empty where there is one worker only.
  /// Those that another process listened with before; what is missing is opened afresh.
  std::shared_ptr<Listeners> inherited = std::make_shared<Listeners>();
};

/// One pod's part in one worker: its pool of tunnels and its connections, and in the worker that
/// its Spread names, its listeners.
class Pod final : public io::Object {
 public:
  /// Opens the three listeners in `netns` when they are this worker's. All of them accept when this
  /// returns ok.
  static Result<std::unique_ptr<Pod>> open(WorkerState& worker, PodSpec spec, UniqueFd netns,
                                           PodShare share);
  ~Pod() override;

  const PodSpec& spec() const { return spec_; }
  WorkerState& worker() { return worker_; }
  int netns() const { return netns_.get(); }
  /// The pod as the tables know it now; null when they do not.
  std::shared_ptr<const Workload> workload() const;
  /// Null until the control plane gave one.
  const std::shared_ptr<const tls::Identity>& identity() const { return identity_; }
  void setIdentity(std::shared_ptr<const tls::Identity> identity);

  /// True, and counted, when the pod may hold no further connection. To be asked before adopt().
  bool full();
  const std::shared_ptr<PodBudget>& budget() { return share_.budget; }
  const std::shared_ptr<Spread>& spread() { return share_.spread; }
  io::Capture& capture() { return *capture_; }
  /// Takes up a connection that one of the pod's listeners accepted, here or in another worker.
  /// Resets it when the pod is draining.
  void take(Accepted accepted);
  /// A socket in the pod's namespace that connects to `to`, as connectTcp() does, set up as sockets
  /// towards applications are.
  Result<UniqueFd> connectToApp(const Endpoint& to, const std::optional<Ip>& source);
  Outbound& outbound() { return *outbound_; }
  /// How the pod is told to its peers.
  BaggageFields& baggage() { return baggage_; }
  const Limits& limits() const { return worker_.settings.limits; }
  /// Takes ownership, and counts it among the pod's connections.
  template <typename T>
  T* adopt(std::unique_ptr<T> connection) {
    T* raw = connection.get();
    static_cast<Connection*>(raw)->counted_ = true;
    share_.budget->connections().add(1);
    share_.spread->opened(worker_.index);
    live_.emplace(raw, std::move(connection));
    return raw;
  }
  void release(Connection* connection);

  void reauthorize();
  void recheckPeers();
  void describe(Snapshot& snapshot) const;
  /// Why an open connection may not stay, by the tables as they are now; a clean outcome when it
  /// may. Inbound policy is asked, and a pod that the tables do not know takes none (fail-closed);
  /// outbound the route has to be as it was.
  Outcome judge(const ConnectionInfo& info) const;
  /// Accepts at listeners that were inherited, too.
  void acceptInherited();
  /// Duplicates of its listening sockets; empty where it does not listen.
  Listeners listeners() const;
  /// Closes its listening sockets; what they accepted goes on.
  void stopListening();
  /// Takes no more connections, lets open ones end.
  void drain();
  /// Ends everything now.
  void close(Reason reason, const std::string& detail);
  size_t connectionCount() const { return live_.size(); }
  void report(EventKind kind, const ConnectionInfo& info, const Outcome& outcome);

 private:
  Pod(WorkerState& worker, PodSpec spec, UniqueFd netns, PodShare share);
  Status listen();
  Result<UniqueFd> listenerAt(uint16_t port, const io::TcpOptions& options, bool& isInherited);
  void onAccept(uint16_t port, UniqueFd fd, const Endpoint& peer);
  template <typename Visit>
  void forEachConnection(Visit visit);

  WorkerState& worker_;
  PodSpec spec_;
  UniqueFd netns_;
  PodShare share_;
  std::shared_ptr<io::Capture> capture_;
  bool draining_ = false;
  io::SpareSockets sockets4_;
  io::SpareSockets sockets6_;
  std::shared_ptr<const tls::Identity> identity_;
  BaggageFields baggage_;
  std::unordered_map<Connection*, std::unique_ptr<Connection>> live_;
  std::map<uint16_t, Listener*> listeners_;  // those of live_; empty once it listens no more
  std::unique_ptr<Outbound> outbound_;
  std::unique_ptr<Inbound> inbound_;
};

}  // namespace weft::proxy
