// SPDX-License-Identifier: Apache-2.0
#include "proxy/engine_worker.h"

#include <future>
#include <utility>

#include "base/clock.h"
#include "proxy/direct_policy.h"

namespace weft::proxy {
namespace {
constexpr uint64_t kDrainCheckMs = 10;
/// Less than half of WEFT_STALE_NS, so that a loop may be late.
constexpr uint64_t kBeatMs = 1000;

ConnectionInfo infoOf(const Tables& tables, const io::DirectEvent& event, Pod& source,
                      Pod& destination) {
  ConnectionInfo info;
  info.direct = true;
  info.source = event.flow.client;
  info.destination = event.flow.server;
  info.sourceIdentity = source.spec().spiffeId;
  info.destinationIdentity = destination.spec().spiffeId;
  info.sourceWorkload = source.workload();
  info.destinationWorkload = destination.workload();
  if (info.sourceWorkload != nullptr) {
    const auto service = serviceOf(tables, *info.sourceWorkload, event.flow);
    info.destinationService = service == nullptr ? "" : service->key;
  }
  info.bytesSent = event.bytesSent;
  info.bytesReceived = event.bytesReceived;
  info.startedMicros = monotonicMicros() - event.durationNs / 1000;
  info.rttMicros = event.rttMicros;
  info.retransmits = event.retransmits;
  return info;
}

std::pair<EventKind, Outcome> endOf(const io::DirectEvent& event) {
  using Kind = io::DirectEvent::Kind;
  if (event.kind == Kind::kOpened) {
    return {EventKind::kOpened, {}};
  }
  if (event.kind == Kind::kDenied) {
    return {EventKind::kRefused, {Reason::kDenied, "denied at connect", ""}};
  }
  return event.established
             ? std::pair{EventKind::kClosed, Outcome{}}
             : std::pair{EventKind::kRefused,
                         Outcome{Reason::kConnect, "the destination did not accept", ""}};
}
}  // namespace

EngineWorker::EngineWorker(size_t index, const Settings& settings, CounterRow counters,
                           EventQueue& queue, io::Captures& captures)
    : worker_(
          std::make_unique<io::Worker>("weft-" + std::to_string(index), settings.busyPollMicros)),
      state_(std::make_unique<WorkerState>(index, worker_->loop(), settings, counters, queue,
                                           captures, monotonicMicros() ^ (index << 56))),
      captures_(captures) {
  state_->waits = settings.takesOver;
  worker_->post([this] { beat(); });
}

EngineWorker::~EngineWorker() {
  close();
  worker_.reset();
}

void EngineWorker::close() {
  std::promise<void> closed;
  worker_->post([&] {
    closeAll("the proxy ends");
    closed.set_value();
  });
  closed.get_future().wait();
}

void EngineWorker::beat() {
  if (!state_->waits) {
    captures_.beat();  // else it is another process that has to
  }
  state_->handshakes.dropOldShares();
  beatTimer_.start(state_->loop, kBeatMs, [this] { beat(); });
}

void EngineWorker::closeAll(const std::string& detail) {
  beatTimer_.cancel();
  drainTimer_.cancel();
  const size_t cut = openConnections();
  while (!pods_.empty()) {
    closePod(pods_.begin()->first, Reason::kDrained, detail);
  }
  state_->events.finish();
  for (const auto& done : std::exchange(drains_, {})) {
    done(cut);
  }
}

void EngineWorker::setTables(std::shared_ptr<const Tables> tables) {
  worker_->post([this, tables = std::move(tables)]() mutable {
    const bool changed = tables->policyEpoch() != state_->tables->policyEpoch() ||
                         tables->routeEpoch() != state_->tables->routeEpoch();
    state_->tables = std::move(tables);
    if (changed) {
      for (auto& [uid, pod] : pods_) {
        pod->reauthorize();
      }
    }
  });
}

void EngineWorker::setIdentity(std::shared_ptr<const tls::Identity> identity) {
  worker_->post([this, identity = std::move(identity)] {
    identities_[identity->id().text] = identity;
    for (auto& [uid, pod] : pods_) {
      if (pod->spec().spiffeId == identity->id().text) {
        pod->setIdentity(identity);
      }
    }
  });
}

void EngineWorker::removeIdentity(std::string spiffeId) {
  worker_->post([this, spiffeId = std::move(spiffeId)] { identities_.erase(spiffeId); });
}

void EngineWorker::setTicketKeys(std::shared_ptr<tls::TicketKeys> keys) {
  worker_->post([this, keys = std::move(keys)] { state_->tls.ticketKeys = keys; });
}

void EngineWorker::setDenyList(std::shared_ptr<const tls::DenyList> list) {
  worker_->post([this, list = std::move(list)] {
    state_->tls.denyList = list;
    for (auto& [uid, pod] : pods_) {
      pod->recheckPeers();
    }
  });
}

void EngineWorker::snapshot(std::function<void(const std::string&)> done) {
  worker_->post([this, done = std::move(done)] {
    Snapshot all(monotonicMicros());
    for (const auto& [uid, pod] : pods_) {
      pod->describe(all);
    }
    done(all.take());
  });
}

void EngineWorker::addPod(PodSpec spec, UniqueFd netns, PodShare share,
                          std::function<void(Status)> done) {
  // std::function must be copyable, a descriptor is not: it travels shared.
  auto shared = std::make_shared<UniqueFd>(std::move(netns));
  worker_->post(
      [this, spec = std::move(spec), shared, share = std::move(share), done = std::move(done)] {
        closePod(spec.uid, Reason::kDrained, "the pod was replaced");
        Result<std::unique_ptr<Pod>> pod = Pod::open(*state_, spec, std::move(*shared), share);
        if (!pod.ok()) {
          done(pod.status());
          return;
        }
        const auto identity = identities_.find(spec.spiffeId);
        if (identity != identities_.end()) {
          pod.value()->setIdentity(identity->second);
        }
        pods_[spec.uid] = std::move(pod).value();
        done({});
      });
}

void EngineWorker::handOver(std::string uid, Accepted accepted) {
  auto shared = std::make_shared<Accepted>(std::move(accepted));
  worker_->post([this, uid = std::move(uid), shared] {
    const std::shared_ptr<Spread> spread = shared->spread;
    const auto pod = pods_.find(uid);
    if (pod != pods_.end() && pod->second->spread() == spread) {
      pod->second->take(std::move(*shared));
    } else {
      io::resetOnClose(shared->fd.get());
    }
    spread->arrived(state_->index);
  });
}

void EngineWorker::reportDirect(std::vector<DirectPaths::Told> all) {
  worker_->post([this, all = std::move(all)] {
    for (const DirectPaths::Told& told : all) {
      report(told);
    }
  });
}

void EngineWorker::report(const DirectPaths::Told& told) {
  const auto source = pods_.find(told.sourceUid);
  const auto destination = pods_.find(told.destinationUid);
  if (source == pods_.end() || destination == pods_.end()) {
    return;
  }
  ConnectionInfo info = infoOf(*state_->tables, told.event, *source->second, *destination->second);
  const auto [kind, outcome] = endOf(told.event);
  source->second->report(kind, info, outcome);
  info.direction = Direction::kInbound;
  info.rttMicros = info.retransmits = 0;  // measured by the client's socket alone
  info.destinationService.clear();        // it was asked for itself, as a tunnel asks for it
  destination->second->report(kind, info, outcome);
}

void EngineWorker::removePod(std::string uid, std::function<void()> done) {
  worker_->post([this, uid = std::move(uid), done = std::move(done)] {
    closePod(uid, Reason::kDrained, "the pod was removed");
    done();
  });
}

void EngineWorker::closePod(const std::string& uid, Reason reason, const std::string& detail) {
  const auto found = pods_.find(uid);
  if (found == pods_.end()) {
    return;
  }
  found->second->close(reason, detail);
  state_->loop.bury(std::move(found->second));
  pods_.erase(found);
}

void EngineWorker::takeOver() {
  worker_->post([this] {
    state_->waits = false;
    for (auto& [uid, pod] : pods_) {
      pod->acceptInherited();
    }
  });
}

void EngineWorker::listeners(std::string uid, std::function<void(Listeners)> done) {
  worker_->post([this, uid = std::move(uid), done = std::move(done)] {
    const auto found = pods_.find(uid);
    done(found == pods_.end() ? Listeners() : found->second->listeners());
  });
}

void EngineWorker::stopListening(std::function<void()> done) {
  worker_->post([this, done = std::move(done)] {
    for (auto& [uid, pod] : pods_) {
      pod->stopListening();
    }
    done();
  });
}

void EngineWorker::drain(uint64_t deadlineMs, std::function<void(size_t)> done) {
  worker_->post([this, deadlineMs, done = std::move(done)]() mutable {
    beatTimer_.cancel();
    for (auto& [uid, pod] : pods_) {
      pod->drain();
    }
    drains_.push_back(std::move(done));
    waitForDrain(monotonicMillis() + deadlineMs);
  });
}

size_t EngineWorker::openConnections() const {
  size_t open = 0;
  for (const auto& [uid, pod] : pods_) {
    open += pod->connectionCount();
  }
  return open;
}

void EngineWorker::waitForDrain(uint64_t untilMs) {
  if (openConnections() > 0 && monotonicMillis() < untilMs) {
    drainTimer_.start(state_->loop, kDrainCheckMs, [this, untilMs] { waitForDrain(untilMs); });
    return;
  }
  closeAll("the drain's deadline passed");
}

}  // namespace weft::proxy
