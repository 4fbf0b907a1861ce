// SPDX-License-Identifier: Apache-2.0
#include "proxy/pod.h"

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
    pod_.release(this);
  }
}

Pod::Pod(WorkerState& worker, PodSpec spec, UniqueFd netns, std::shared_ptr<PodBudget> budget)
    : worker_(worker),
      spec_(std::move(spec)),
      netns_(std::move(netns)),
      budget_(std::move(budget)),
      sockets4_(netns_.get(), AF_INET, towardsApp(worker.settings)),
      sockets6_(netns_.get(), AF_INET6, towardsApp(worker.settings)),
      outbound_(std::make_unique<Outbound>(*this)),
      inbound_(std::make_unique<Inbound>(*this)) {}

Pod::~Pod() = default;

Result<std::unique_ptr<Pod>> Pod::open(WorkerState& worker, PodSpec spec, UniqueFd netns,
                                       std::shared_ptr<PodBudget> budget) {
  std::unique_ptr<Pod> pod(new Pod(worker, std::move(spec), std::move(netns), std::move(budget)));
  if (Status status = pod->listen(); !status.ok()) {
    pod->close(Reason::kNone, "");
    worker.loop.bury(std::move(pod));
    return status;
  }
  return pod;
}

Status Pod::listen() {
  struct Entry {
    uint16_t port;
    io::TcpOptions options;
    Listener::Accept accept;
  };
  const Settings& settings = worker_.settings;
  const io::TcpOptions towardsPeer{settings.mark, settings.tunnelCongestion, true,
                                   settings.h2.deadAfterMs};
  // Alone, nobody else can take a share of a pod's connections, not even root in the pod.
  const bool shared = settings.workers > 1;
  Entry entries[] = {
      {kOutboundPort, towardsApp(settings),
       [this](UniqueFd fd, const Endpoint& peer) { outbound_->onAccept(std::move(fd), peer); }},
      {kPlaintextPort, towardsPeer,
       [this](UniqueFd fd, const Endpoint& peer) {
         inbound_->onAcceptPlaintext(std::move(fd), peer);
       }},
      {kHbonePort, towardsPeer,
       [this](UniqueFd fd, const Endpoint& peer) { inbound_->onAccept(std::move(fd), peer); }},
  };
  for (Entry& entry : entries) {
    Result<UniqueFd> fd = io::listenTcp(netns_.get(), entry.port, entry.options, shared);
    if (!fd.ok()) {
      return fd.status();
    }
    auto listener =
        std::make_unique<Listener>(*this, std::move(fd).value(), std::move(entry.accept));
    Listener* raw = listener.get();
    live_.emplace(raw, std::move(listener));
  }
  return {};
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
  if (!budget_->connections().full()) {
    return false;
  }
  worker_.counters.add(Counter::kLimitReached);
  return true;
}

void Pod::release(Connection* connection) {
  const auto found = live_.find(connection);
  CHECK(found != live_.end());
  if (connection->counted_) {
    budget_->connections().subtract(1);
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

void Pod::drain() {
  forEachConnection([](Connection& connection) { connection.drain(); });
}

void Pod::close(Reason reason, const std::string& detail) {
  const Outcome outcome{reason, detail, ""};
  while (!live_.empty()) {
    forEachConnection([&](Connection& connection) { connection.abort(outcome); });
  }
}

void Pod::report(EventKind kind, const ConnectionInfo& info, const Outcome& outcome) {
  worker_.events.report(kind, spec_.uid, info, outcome);
}

}  // namespace weft::proxy
