// SPDX-License-Identifier: Apache-2.0
#include "proxy/pod.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <utility>

#include "proxy/inbound.h"
#include "proxy/listener.h"
#include "proxy/outbound.h"

namespace weft::proxy {
namespace {

io::TcpOptions towardsApp(const Settings& settings) {
  return {settings.mark, settings.appCongestion, false};
}

}  // namespace

void Connection::release() {
  if (!std::exchange(released_, true)) {
    lease_ = {};
    claim_ = {};
    pod_.release(this);
  }
}

Pod::Pod(WorkerState& worker, PodSpec spec, UniqueFd netns, PodShare share)
    : worker_(worker),
      spec_(std::move(spec)),
      netns_(std::move(netns)),
      share_(std::move(share)),
      capture_(worker.captures.of(netns_.get())),
      sockets4_(netns_.get(), AF_INET, towardsApp(worker.settings)),
      sockets6_(netns_.get(), AF_INET6, towardsApp(worker.settings)),
      outbound_(std::make_unique<Outbound>(*this)),
      inbound_(std::make_unique<Inbound>(*this)) {}

Pod::~Pod() = default;

Result<std::unique_ptr<Pod>> Pod::open(WorkerState& worker, PodSpec spec, UniqueFd netns,
                                       PodShare share) {
  const bool listens = share.spread->listener() == worker.index;
  std::unique_ptr<Pod> pod(new Pod(worker, std::move(spec), std::move(netns), std::move(share)));
  if (Status status = listens ? pod->listen() : Status{}; !status.ok()) {
    pod->close(Reason::kNone, "");
    worker.loop.bury(std::move(pod));
    return status;
  }
  return pod;
}

Status Pod::listen() {
  const Settings& settings = worker_.settings;
  const io::TcpOptions towardsPeer{settings.mark, settings.tunnelCongestion, true,
                                   settings.h2.deadAfterMs};
  io::TcpOptions tunnel = towardsPeer;
  tunnel.answersSoon = true;
  const std::pair<uint16_t, io::TcpOptions> doors[] = {
      {kOutboundPort, towardsApp(settings)}, {kPlaintextPort, towardsPeer}, {kHbonePort, tunnel}};
  for (const auto& [port, options] : doors) {
    bool isInherited = false;
    Result<UniqueFd> fd = listenerAt(port, options, isInherited);
    if (!fd.ok()) {
      return fd.status();
    }
    if (Status status = capture_->serve(fd.value().get(), port); !status.ok()) {
      return status;
    }
    auto listener = std::make_unique<Listener>(
        *this, std::move(fd).value(), [this, port = port](UniqueFd accepted, const Endpoint& peer) {
          onAccept(port, std::move(accepted), peer);
        });
    if (!isInherited || !worker_.waits) {
      listener->accept();
    }
    Listener* raw = listener.get();
    listeners_.emplace(port, raw);
    live_.emplace(raw, std::move(listener));
  }
  return {};
}

Result<UniqueFd> Pod::listenerAt(uint16_t port, const io::TcpOptions& options, bool& isInherited) {
  const auto found = share_.inherited->find(port);
  if (found == share_.inherited->end()) {
    return io::listenTcp(netns_.get(), port, options);
  }
  UniqueFd fd = std::move(found->second);
  share_.inherited->erase(found);
  if (Status status = io::checkInherited(fd.get(), netns_.get(), SOCK_STREAM, {Ip(), port});
      !status.ok()) {
    return status;
  }
  if (Status status = io::setUp(fd.get(), options); !status.ok()) {
    return status;
  }
  isInherited = true;
  return fd;
}

void Pod::acceptInherited() {
  for (const auto& [port, listener] : listeners_) {
    listener->accept();
  }
}

Listeners Pod::listeners() const {
  Listeners copies;
  for (const auto& [port, listener] : listeners_) {
    if (UniqueFd copy(::fcntl(listener->fd(), F_DUPFD_CLOEXEC, 0)); copy) {
      copies.emplace(port, std::move(copy));
    }
  }
  return copies;
}

void Pod::onAccept(uint16_t port, UniqueFd fd, const Endpoint& peer) {
  Accepted accepted{port, std::move(fd), peer, share_.spread};
  const size_t worker = share_.spread->choose();
  if (worker != worker_.index) {
    share_.handOver(worker, std::move(accepted));
    return;
  }
  take(std::move(accepted));
  share_.spread->arrived(worker);
}

void Pod::take(Accepted accepted) {
  if (draining_) {
    io::resetOnClose(accepted.fd.get());
  } else if (accepted.port == kOutboundPort) {
    outbound_->onAccept(std::move(accepted.fd), accepted.peer);
  } else if (accepted.port == kPlaintextPort) {
    inbound_->onAcceptPlaintext(std::move(accepted.fd), accepted.peer);
  } else {
    inbound_->onAccept(std::move(accepted.fd), accepted.peer);
  }
}

template <typename Visit>
void Pod::forEachConnection(Visit visit) {
  std::vector<Connection*> all;
  all.reserve(live_.size());
  for (const auto& [raw, owned] : live_) {
    all.push_back(raw);
  }
  // A visit may end others; those stay valid until the turn ends, and do nothing.
  for (Connection* connection : all) {
    visit(*connection);
  }
}

Result<UniqueFd> Pod::connectToApp(const Endpoint& to, const std::optional<Ip>& source) {
  io::SpareSockets& sockets = to.ip.isV4() ? sockets4_ : sockets6_;
  Result<UniqueFd> fd = sockets.take(worker_.loop.nowMs());
  if (const uint32_t mark = capture_->returnMark(); fd.ok() && source.has_value() && mark != 0) {
    if (Status status = io::setMark(fd.value().get(), mark); !status.ok()) {
      return status;
    }
  }
  return fd.ok() ? io::connectTcp(std::move(fd).value(), to, source) : std::move(fd);
}

std::shared_ptr<const Workload> Pod::workload() const {
  return worker_.tables->workloadByUid(spec_.workloadUid);
}

void Pod::setIdentity(std::shared_ptr<const tls::Identity> identity) {
  identity_ = std::move(identity);
  if (identity_ != nullptr) {
    forEachConnection([](Connection& connection) { connection.onIdentity(); });
    outbound_->onIdentity();
    inbound_->onIdentity();
  }
}

bool Pod::full() {
  if (!share_.budget->connections().full()) {
    return false;
  }
  worker_.counters.add(Counter::kLimitReached);
  return true;
}

void Pod::release(Connection* connection) {
  const auto found = live_.find(connection);
  CHECK(found != live_.end());
  if (connection->counted_) {
    share_.budget->connections().subtract(1);
    share_.spread->closed(worker_.index);
  }
  worker_.loop.bury(std::move(found->second));
  live_.erase(found);
}

Outcome Pod::judge(const ConnectionInfo& info) const {
  const Tables& tables = *worker_.tables;
  if (info.direction == Direction::kOutbound) {
    if (info.destinationWorkload == nullptr) {
      return {};
    }
    const std::string why =
        whyStale(tables, *info.destinationWorkload, info.destination.ip, info.destinationService);
    return why.empty() ? Outcome{} : Outcome{Reason::kNoRoute, "route changed: " + why, ""};
  }
  const auto destination = workload();
  if (destination == nullptr) {
    return {Reason::kDenied, "the pod's workload is no longer known", ""};
  }
  const Verdict verdict = tables.authorize(
      *destination,
      {info.sourceIdentity, info.source.ip, info.destination.ip, info.destination.port});
  return verdict.allowed
             ? Outcome{}
             : Outcome{Reason::kDenied, "policy changed: " + verdict.reason, verdict.policy};
}

void Pod::reauthorize() {
  forEachConnection([](Connection& connection) { connection.reauthorize(); });
}

void Pod::recheckPeers() {
  forEachConnection([](Connection& connection) { connection.recheckPeer(); });
}

void Pod::describe(Snapshot& snapshot) const {
  for (const auto& [raw, owned] : live_) {
    raw->describe(snapshot);
  }
}

void Pod::stopListening() {
  for (const auto& [port, listener] : std::exchange(listeners_, {})) {
    listener->drain();
  }
}

void Pod::drain() {
  draining_ = true;
  stopListening();
  forEachConnection([](Connection& connection) { connection.drain(); });
}

void Pod::close(Reason reason, const std::string& detail) {
  const Outcome outcome{reason, detail, ""};
  listeners_.clear();
  while (!live_.empty()) {
    forEachConnection([&](Connection& connection) { connection.abort(outcome); });
  }
}

void Pod::report(EventKind kind, const ConnectionInfo& info, const Outcome& outcome) {
  worker_.events.report(kind, spec_.uid, info, outcome);
}

}  // namespace weft::proxy
