// SPDX-License-Identifier: Apache-2.0
#include "proxy/engine.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <utility>

#include "io/netns.h"
#include "proxy/direct_paths.h"
#include "proxy/engine_worker.h"

namespace weft::proxy {
namespace {

/// Calls `done` when every worker has answered, with the first error.
class Gathering {
 public:
  Gathering(size_t expected, Engine::Done done) : left_(expected), done_(std::move(done)) {}

  void arrive(const Status& status) {
    bool last = false;
    {
      const std::lock_guard lock(mutex_);
      if (first_.ok()) {
        first_ = status;
      }
      last = --left_ == 0;
    }
    if (last) {
      done_(first_);
    }
  }

 private:
  std::mutex mutex_;
  size_t left_;
  Status first_;
  Engine::Done done_;
};

/// Adds up, or joins, what every worker says.
template <typename Sum>
class Joining {
 public:
  Joining(size_t expected, std::function<void(Sum)> done)
      : left_(expected), done_(std::move(done)) {}

  void arrive(const Sum& part) {
    bool last = false;
    {
      const std::lock_guard lock(mutex_);
      whole_ += part;
      last = --left_ == 0;
    }
    if (last) {
      done_(std::move(whole_));
    }
  }

 private:
  std::mutex mutex_;
  size_t left_;
  Sum whole_{};
  std::function<void(Sum)> done_;
};

/// Says which endpoints are reached past the proxy.
void markDirect(Explanation& out, const std::vector<bool>& isDirect) {
  size_t count = 0;
  for (size_t i = 0; i < isDirect.size(); i++) {
    if (isDirect[i]) {
      out.endpoints[i].direct = true;
      out.endpoints[i].route.detail = "both pods are on this node, where the kernel decides";
      count++;
    }
  }
  if (count > 0 && out.service.empty()) {
    out.why = out.endpoints.front().route.detail;
  } else if (count > 0) {
    out.why = "the kernel picks an endpoint, and decides by itself where it is on this node: " +
              std::to_string(count) + " of " + std::to_string(out.endpointsTotal);
  }
}

}  // namespace

Engine::Engine(Settings settings, std::function<void()> onEvents,
               std::unique_ptr<io::Captures> captures)
    : settings_(std::move(settings)),
      cryptoMode_(crypto::chooseMode(settings_.crypto).value()),
      captures_(captures != nullptr ? std::move(captures)
                                    : std::make_unique<io::NetfilterCaptures>()),
      events_(std::move(onEvents), settings_.limits.eventQueueBytes),
      counters_(std::make_shared<CounterTable>(settings_.workers)),
      nodeBytes_(std::make_shared<SharedSum>(settings_.limits.bytesPerNode)) {
  const bool resumes = settings_.limits.resumableSessions != 0;
  const auto ticketKeys = resumes ? std::make_shared<tls::TicketKeys>() : nullptr;
  for (size_t i = 0; i < settings_.workers; i++) {
    workers_.push_back(
        std::make_unique<EngineWorker>(i, settings_, counters_->row(i), events_, *captures_));
    workers_.back()->setTicketKeys(ticketKeys);
  }
  if (settings_.directPath || settings_.kernelCapture) {
    direct_ = std::make_unique<DirectPaths>(
        *captures_,
        [this](std::vector<DirectPaths::Told> all) {
          workers_.front()->reportDirect(std::move(all));
        },
        DirectPaths::Options{settings_.takesOver, settings_.directPath});
  }
}

std::vector<const crypto::BatchTotals*> Engine::handshakeTotals() const {
  std::vector<const crypto::BatchTotals*> all;
  for (const auto& worker : workers_) {
    all.push_back(&worker->handshakeTotals());
  }
  return all;
}

Engine::~Engine() {
  // A worker that answers last posts to the others, and to the direct paths: none may go before all
  // have answered.
  for (auto& worker : workers_) {
    worker->close();
  }
  direct_.reset();
  workers_.clear();
}

Status Engine::apply(std::span<const uint8_t> delta) {
  Result<std::shared_ptr<const Tables>> next = Tables::apply(tables_, delta);
  if (!next.ok()) {
    return next.status();
  }
  tables_ = next.value();
  for (auto& worker : workers_) {
    worker->setTables(tables_);
  }
  if (direct_ != nullptr) {
    direct_->setTables(tables_);
  }
  return {};
}

void Engine::setIdentity(const std::shared_ptr<const tls::Identity>& identity) {
  for (auto& worker : workers_) {
    worker->setIdentity(identity);
  }
  if (direct_ != nullptr) {
    direct_->setIdentity(identity);
  }
}

Result<Explanation> Engine::explain(std::string_view sourceUid, const Endpoint& destination) const {
  Result<Explanation> out =
      proxy::explain(*tables_, sourceUid, destination, settings_.registryOnly);
  if (!out.ok() || direct_ == nullptr) {
    return out;
  }
  std::vector<DirectPaths::End> ends;
  for (const Explanation::Endpoint& each : out.value().endpoints) {
    const bool isTunnelled = each.route.kind == Route::Kind::kTunnel;
    ends.push_back({isTunnelled ? each.route.workload->uid : "", each.route.target});
  }
  markDirect(out.value(), direct_->decides(std::string(sourceUid), destination, ends));
  return out;
}

void Engine::removeIdentity(const std::string& spiffeId) {
  for (auto& worker : workers_) {
    worker->removeIdentity(spiffeId);
  }
  if (direct_ != nullptr) {
    direct_->removeIdentity(spiffeId);
  }
}

void Engine::setDenyList(const std::vector<std::string>& identities,
                         const std::vector<std::string>& serials) {
  const auto list = std::make_shared<const tls::DenyList>(++denyListEpoch_, identities, serials);
  for (auto& worker : workers_) {
    worker->setDenyList(list);
  }
  if (direct_ != nullptr) {
    direct_->setDenyList(list);
  }
}

void Engine::addPod(const PodSpec& spec, const UniqueFd& netns, Done done, Listeners inherited) {
  Status status = io::checkNetns(netns.get());
  if (draining_) {
    status = {Code::kUnavailable, "the proxy is draining"};
  }
  if (!status.ok()) {
    done(status);
    return;
  }
  const std::string uid = spec.uid;
  // Here and not when it is open: a pod that is removed meanwhile is to be removed behind this.
  if (UniqueFd copy(::fcntl(netns.get(), F_DUPFD_CLOEXEC, 0)); direct_ != nullptr && copy) {
    direct_->addPod(spec, std::move(copy));
  }
  auto settle = [this, uid, done = std::move(done)](const Status& opened) {
    if (opened.ok()) {
      if (direct_ != nullptr) {
        direct_->podIsOpen(uid);
      }
      done(opened);
    } else {  // never half open
      removePod(uid, [done, opened](const Status&) { done(opened); });
    }
  };
  auto gathering = std::make_shared<Gathering>(workers_.size(), std::move(settle));
  const PodShare share = shareOf(uid, std::move(inherited));
  // The listening worker comes last: what it accepts finds the other parts in their place. It is
  // the same one for a pod that is replaced, so that the old listeners are closed before.
  for (size_t i = 1; i <= workers_.size(); i++) {
    const size_t worker = (share.spread->listener() + i) % workers_.size();
    UniqueFd copy(::fcntl(netns.get(), F_DUPFD_CLOEXEC, 0));
    if (!copy) {
      gathering->arrive(Status::fromErrno("dup", errno));
      continue;
    }
    workers_[worker]->addPod(spec, std::move(copy), share,
                             [gathering](const Status& opened) { gathering->arrive(opened); });
  }
}

size_t Engine::listenerOf(const std::string& uid) const {
  return std::hash<std::string>{}(uid) % workers_.size();
}

PodShare Engine::shareOf(const std::string& uid, Listeners inherited) {
  const size_t listener = listenerOf(uid);
  return {std::make_shared<PodBudget>(settings_.limits, nodeBytes_),
          std::make_shared<Spread>(listener, workers_.size()),
          [this, uid](size_t worker, Accepted accepted) {
            workers_[worker]->handOver(uid, std::move(accepted));
          },
          std::make_shared<Listeners>(std::move(inherited))};
}

void Engine::removePod(const std::string& uid, Done done) {
  if (direct_ != nullptr) {
    direct_->removePod(uid);
  }
  auto gathering = std::make_shared<Gathering>(workers_.size(), std::move(done));
  for (auto& worker : workers_) {
    worker->removePod(uid, [gathering] { gathering->arrive({}); });
  }
}

void Engine::listeners(const std::string& uid, std::function<void(Listeners)> done) {
  workers_[listenerOf(uid)]->listeners(uid, std::move(done));
}

void Engine::takeOver() {
  for (auto& worker : workers_) {
    worker->takeOver();
  }
  if (direct_ != nullptr) {
    direct_->begin();
  }
}

void Engine::directChanged() {
  if (direct_ != nullptr) {
    direct_->changed();
  }
}

void Engine::releaseDirect() {
  if (direct_ != nullptr) {
    direct_->rest();
  }
}

void Engine::drain(uint64_t deadlineMs, std::function<void(size_t)> done) {
  draining_ = true;
  auto joining = std::make_shared<Joining<size_t>>(workers_.size(), std::move(done));
  // What one worker accepted for another is on its way there before any of them drains.
  auto gathering =
      std::make_shared<Gathering>(workers_.size(), [this, deadlineMs, joining](const Status&) {
        for (auto& worker : workers_) {
          worker->drain(deadlineMs, [joining](size_t cut) { joining->arrive(cut); });
        }
      });
  for (auto& worker : workers_) {
    worker->stopListening([gathering] { gathering->arrive({}); });
  }
}

void Engine::snapshot(std::function<void(std::string)> done) {
  auto joining = std::make_shared<Joining<std::string>>(workers_.size(), std::move(done));
  for (auto& worker : workers_) {
    worker->snapshot([joining](const std::string& part) { joining->arrive(part); });
  }
}

}  // namespace weft::proxy
