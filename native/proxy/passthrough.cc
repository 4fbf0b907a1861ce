// SPDX-License-Identifier: Apache-2.0
#include "proxy/passthrough.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "proxy/outbound.h"

namespace weft::proxy {

Passthrough::Passthrough(Pod& pod, Attempt client, UniqueFd server)
    : Connection(pod),
      serverEvents_(std::make_unique<ServerEvents>(*this)),
      info_(std::move(client.info)),
      retry_(std::move(client.retry)) {
  if (retry_ != nullptr) {
    info_.bytesSent = 0;  // counted when it is written
    account(server_, retry_->said.size());
  }
  client_.fd = std::move(client.fd);
  server_.fd = std::move(server);
  // What they are told is not whole before the end.
  io::resetOnClose(client_.fd.get());
  io::resetOnClose(server_.fd.get());
  info_.startedMicros = monotonicMicros();
  WorkerState& worker = pod_.worker();
  worker.loop.watch(client_.fd.get(), this);
  worker.loop.watch(server_.fd.get(), serverEvents_.get());
  timer_.start(worker.loop, worker.settings.connectTimeoutMs, [this] {
    connectFailed({Reason::kConnect, "the destination did not accept in time", ""});
  });
}

void Passthrough::ServerEvents::onReady(uint32_t events) {
  if (owner_ == nullptr) {
    return;
  }
  Passthrough& owner = *owner_;
  if (!owner.connected_) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
      return;
    }
    owner.connectDone(events);
    if (owner.released()) {
      return;
    }
  }
  owner.onSide(owner.server_, events);
}

void Passthrough::onReady(uint32_t events) {
  if (!released()) {
    onSide(client_, events);
  }
}

void Passthrough::connectDone(uint32_t events) {
  timer_.cancel();
  if (const Status status = io::connectResult(server_.fd.get(), events); !status.ok()) {
    connectFailed({Reason::kConnect, status.message(), ""});
    return;
  }
  connected_ = true;
  if (retry_ != nullptr) {
    server_.pending = std::move(retry_->said);
    retry_.reset();
  }
  lease_.succeeded();
  pod_.worker().counters.add(Counter::kPassthroughOpened);
  pod_.report(EventKind::kOpened, info_, {});
  activeMs_ = pod_.worker().loop.nowMs();
  watchIdle();
}

/// How long no byte may move in the state that the connection is in; 0 for ever.
uint64_t Passthrough::idleLimitMs() const {
  const Settings& settings = pod_.worker().settings;
  if (client_.ended && server_.ended) {
    return settings.finWaitMs;
  }
  return client_.ended || server_.ended ? settings.halfClosedIdleMs : settings.streamIdleMs;
}

void Passthrough::watchIdle() {
  const uint64_t limitMs = released() ? 0 : idleLimitMs();
  if (limitMs == 0) {
    return;
  }
  io::Loop& loop = pod_.worker().loop;
  const uint64_t idleMs = loop.nowMs() - activeMs_;
  if (idleMs >= limitMs) {
    abort({Reason::kLimit, "no byte moved for " + std::to_string(idleMs) + " ms", ""});
    return;
  }
  timer_.start(loop, limitMs - idleMs, [this] { watchIdle(); });
}

void Passthrough::connectFailed(const Outcome& outcome) {
  if (retry_ == nullptr || !retry_->possible() || info_.destinationService.empty()) {
    abort(outcome);
    return;
  }
  lease_.failed(monotonicMillis());
  pod_.worker().loop.unwatch(client_.fd.get());
  Attempt attempt{std::move(client_.fd), info_, std::move(retry_)};
  leave();
  if (!pod_.outbound().retry(attempt, true)) {
    pod_.outbound().refuse(std::move(attempt.fd), attempt.info, outcome);
  }
}

void Passthrough::onSide(Side& side, uint32_t events) {
  if ((events & EPOLLERR) != 0) {
    const Status status = io::socketError(side.fd.get());
    abort({Reason::kReset, "connection reset: " + status.message(), ""});
    return;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) {
    side.readable = true;
  }
  pump();
}

void Passthrough::onAgain() {
  if (!released()) {
    pump();
  }
}

void Passthrough::pump() {
  if (released() || !connected_) {
    return;
  }
  if (!move(client_, server_, info_.bytesSent) || !move(server_, client_, info_.bytesReceived)) {
    return;
  }
  if (client_.shut && server_.shut) {
    io::endOnClose(client_.fd.get());
    io::endOnClose(server_.fd.get());
    finish(EventKind::kClosed, {});
  }
}

/// Moves bytes one way until neither side can go on, or the turn's share is used up. False when the
/// connection ended.
bool Passthrough::move(Side& from, Side& to, uint64_t& count) {
  size_t budget = kStreamBudgetBytes;
  while (true) {
    if (!to.pending.empty() && !writeTo(to, count)) {
      return false;
    }
    if (!to.pending.empty() || !from.readable || from.ended) {
      break;
    }
    if (budget == 0) {
      pod_.worker().loop.again(this);
      break;
    }
    const size_t most =
        pod_.budget()->bytesUsedUp() ? kPassthroughBytesMin : pod_.limits().passthroughBytes;
    const ssize_t n = io::receiveSome(from.fd.get(), to.pending.room(most).first(most));
    if (n == -EAGAIN) {
      from.readable = false;
      break;
    }
    if (n < 0) {
      abort({Reason::kReset, std::string("receive: ") + std::strerror(static_cast<int>(-n)), ""});
      return false;
    }
    if (n == 0) {
      from.ended = true;
      activeMs_ = pod_.worker().loop.nowMs();
      watchIdle();
    }
    to.pending.commit(static_cast<size_t>(n));
    budget -= std::min(budget, static_cast<size_t>(n));
  }
  if (from.ended && to.pending.empty() && !to.shut) {
    to.shut = true;
    io::shutdownWrite(to.fd.get());
  }
  if (to.pending.empty()) {
    to.pending.shrink();
  }
  account(to, to.pending.size());
  return true;
}

void Passthrough::account(Side& side, size_t bytes) {
  if (side.counted != bytes) {
    pod_.budget()->account(std::exchange(side.counted, bytes), bytes);
  }
}

bool Passthrough::writeTo(Side& to, uint64_t& count) {
  const ssize_t n = io::sendSome(to.fd.get(), to.pending.bytes());
  if (n == -EAGAIN) {
    return true;
  }
  if (n < 0) {
    abort({Reason::kReset, std::string("send: ") + std::strerror(static_cast<int>(-n)), ""});
    return false;
  }
  to.pending.consume(static_cast<size_t>(n));
  count += static_cast<uint64_t>(n);
  activeMs_ = pod_.worker().loop.nowMs();
  return true;
}

void Passthrough::reauthorize() {
  if (released()) {
    return;
  }
  const Outcome outcome = pod_.judge(info_);
  if (outcome.reason == Reason::kDenied) {
    pod_.worker().counters.add(Counter::kStreamsDenied);
  }
  if (outcome.reason != Reason::kNone) {
    abort(outcome);
  }
}

void Passthrough::describe(Snapshot& snapshot) const {
  snapshot.add(pod_.spec().uid, info_, connected_);
}

void Passthrough::abort(const Outcome& outcome) {
  if (released()) {
    return;
  }
  if (!connected_ && outcome.reason == Reason::kConnect) {
    lease_.failed(monotonicMillis());
  }
  finish(connected_ ? EventKind::kClosed : EventKind::kRefused, outcome);
}

void Passthrough::finish(EventKind kind, const Outcome& outcome) {
  if (released()) {
    return;
  }
  CounterRow& counters = pod_.worker().counters;
  counters.add(kind == EventKind::kRefused ? Counter::kStreamsRefused
                                           : Counter::kPassthroughClosed);
  pod_.report(kind, info_, outcome);
  leave();
}

/// Takes it out of everything that knows it.
void Passthrough::leave() {
  timer_.cancel();
  account(client_, 0);
  account(server_, 0);
  serverEvents_->detach();
  pod_.worker().loop.close(client_.fd);
  pod_.worker().loop.close(server_.fd);
  pod_.worker().loop.bury(std::move(serverEvents_));
  release();
}

}  // namespace weft::proxy
