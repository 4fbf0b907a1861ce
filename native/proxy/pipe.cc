// SPDX-License-Identifier: Apache-2.0
#include "proxy/pipe.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "proxy/outbound.h"
#include "proxy/tunnel.h"

namespace weft::proxy {

Pipe::Pipe(Pod& pod, Attempt attempt)
    : Connection(pod),
      fd_(std::move(attempt.fd)),
      info_(std::move(attempt.info)),
      retry_(std::move(attempt.retry)),
      connected_(true) {
  io::resetOnClose(fd_.get());  // what it is told is not whole before the end
  pod_.worker().loop.watch(fd_.get(), this);
  account();
}

Pipe::Pipe(Pod& pod, UniqueFd fd, ConnectionInfo info)
    : Connection(pod), fd_(std::move(fd)), info_(std::move(info)), connected_(false) {
  info_.startedMicros = monotonicMicros();
  io::resetOnClose(fd_.get());
  WorkerState& worker = pod_.worker();
  worker.loop.watch(fd_.get(), this);
  timer_.start(worker.loop, worker.settings.connectTimeoutMs, [this] {
    abort({Reason::kConnect, "the application did not accept in time", ""});
  });
}

uint64_t& Pipe::sentByApp() {
  return info_.direction == Direction::kOutbound ? info_.bytesSent : info_.bytesReceived;
}

uint64_t& Pipe::sentToApp() {
  return info_.direction == Direction::kOutbound ? info_.bytesReceived : info_.bytesSent;
}

void Pipe::opened() {
  opened_ = true;
  timer_.cancel();
  lease_.succeeded();
  forgetSaid();
  pod_.worker().counters.add(Counter::kStreamsOpened);
  pod_.report(EventKind::kOpened, info_, {});
  activeMs_ = pod_.worker().loop.nowMs();
  watchIdle();
}

/// Once the peer took the stream, nothing of it is said again; but first all of it once.
void Pipe::forgetSaid() {
  if (opened_ && !hasToRepeat()) {
    retry_.reset();
  }
  account();
}

/// How long no byte may move in the state that the connection is in; 0 for ever.
uint64_t Pipe::idleLimitMs() const {
  const Settings& settings = pod_.worker().settings;
  if (appEnded_ && peerEnded_) {
    return settings.finWaitMs;
  }
  return appEnded_ || peerEnded_ ? settings.halfClosedIdleMs : settings.streamIdleMs;
}

void Pipe::watchIdle() {
  const uint64_t limitMs = released() || !opened_ ? 0 : idleLimitMs();
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

/// What is left for the application of a stream that HTTP/2 has forgotten is in nobody's window,
/// nor is what may have to be said again.
void Pipe::account() {
  const bool pendingIsOurs = streamGone_ || (appEnded_ && peerEnded_);
  size_t bytes = 0;
  if (!released()) {
    bytes = (pendingIsOurs ? pending_.size() : 0) + (retry_ == nullptr ? 0 : retry_->said.size());
  }
  if (bytes != counted_) {
    pod_.budget()->account(std::exchange(counted_, bytes), bytes);
  }
}

void Pipe::waitIn(std::vector<Pipe*>& list) {
  waitList_ = &list;
  list.push_back(this);
}

void Pipe::attach(Tunnel& tunnel, http::StreamId id) {
  waitList_ = nullptr;
  tunnel_ = &tunnel;
  id_ = id;
  maySend_ = true;
  tunnel.attach(id, this);
  WorkerState& worker = pod_.worker();
  timer_.start(worker.loop, worker.settings.connectTimeoutMs + kAnswerSlackMs,
               [this] { unanswered(); });
  if (readable_ || hasToRepeat()) {
    worker.loop.again(this);
  }
}

/// A peer that is silent may have given its application what it got, so bytes that were said to it
/// are not said to another one.
void Pipe::unanswered() {
  const Outcome outcome{Reason::kConnect, "the peer did not answer in time", ""};
  if (retry_ != nullptr && retry_->said.empty()) {
    failed(outcome, true);
  } else {
    abort(outcome);
  }
}

void Pipe::serve(Tunnel& tunnel, http::StreamId id) {
  tunnel_ = &tunnel;
  id_ = id;
  tunnel.attach(id, this);
}

void Pipe::onAnswer(int status) {
  if (released()) {
    return;
  }
  if (status == 200) {
    opened();
    return;
  }
  const Outcome outcome{status == 401 ? Reason::kDenied : Reason::kConnect,
                        "the peer answered " + std::to_string(status), ""};
  if (status == 503) {  // it found no application; no byte went further
    failed(outcome, true);
  } else {
    abort(outcome);
  }
}

void Pipe::onReady(uint32_t events) {
  if (released()) {
    return;
  }
  if (!connected_) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
      return;
    }
    connectDone(events);
    if (released()) {
      return;
    }
  } else if ((events & EPOLLERR) != 0) {
    const Status status = io::socketError(fd_.get());
    abort({Reason::kReset, "the application reset the connection: " + status.message(), ""});
    return;
  }
  if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0) {
    hangup_ = true;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) {
    readable_ = true;
  }
  if ((events & EPOLLOUT) != 0 && !pending_.empty()) {
    writePending();
  }
  readFromApp();
}

void Pipe::connectDone(uint32_t events) {
  timer_.cancel();
  if (const Status status = io::connectResult(fd_.get(), events); !status.ok()) {
    abort({Reason::kConnect, status.message(), ""});
    return;
  }
  connected_ = true;
  tunnel_->h2().respond(id_, 200, pod_.baggage().of(info_.destinationWorkload), false);
  tunnel_->onAppAccepted();
  maySend_ = true;
  opened();
  if (!pending_.empty()) {
    writePending();
  } else if (peerEnded_) {
    endToApp();
  }
}

void Pipe::onAgain() {
  readFromApp();
}

void Pipe::resume() {
  blocked_ = false;
  if (!released() && (readable_ || hasToRepeat())) {
    pod_.worker().loop.again(this);
  }
}

void Pipe::readFromApp() {
  size_t budget = kStreamBudgetBytes;
  while (!released() && (readable_ || hasToRepeat()) && maySend_ && !appEnded_ && !blocked_) {
    if (budget == 0) {
      pod_.worker().loop.again(this);
      return;
    }
    if (!readOnce(budget)) {
      return;
    }
  }
}

/// Room for payload; empty when resume() follows.
std::span<uint8_t> Pipe::reserveRoom() {
  if (tunnel_->congested()) {
    blocked_ = true;
    stopsStalling();
    tunnel_->waitForRoom(this);
    return {};
  }
  std::span<uint8_t> room = tunnel_->h2().reserve(id_, kReadBytesMax);
  if (room.empty()) {
    tunnel_->push();  // earlier payload may be in the way
    if (!released()) {
      room = tunnel_->h2().reserve(id_, kReadBytesMax);
    }
  }
  if (!room.empty()) {
    stopsStalling();
  }
  return room;
}

/// One recv into the stream's own room. False when there is nothing more to do now.
bool Pipe::readOnce(size_t& budget) {
  const std::span<uint8_t> room = reserveRoom();
  if (room.empty()) {
    if (!blocked_ && !released()) {
      onNoWindow();
    }
    return false;
  }
  if (hasToRepeat()) {
    repeatOnce(room);
    return true;
  }
  const ssize_t n = io::receiveSome(fd_.get(), room);
  if (n == -EAGAIN) {
    readable_ = false;
    return false;
  }
  if (n < 0) {
    abort({Reason::kReset, std::string("receive: ") + std::strerror(static_cast<int>(-n)), ""});
    return false;
  }
  if (n == 0) {
    onAppEnd();
    return false;
  }
  const auto count = static_cast<size_t>(n);
  const size_t asked = room.size();
  if (retry_ != nullptr) {
    remember(room.first(count));
  }
  tunnel_->h2().commit(id_, count);
  tunnel_->markSaid();
  sentByApp() += count;
  activeMs_ = pod_.worker().loop.nowMs();
  pod_.worker().counters.add(Counter::kBytesFromApps, count);
  budget -= std::min(budget, count);
  if (count < asked && !hangup_) {
    readable_ = false;  // a short read means drained: the next byte raises a new edge
  }
  return true;
}

/// The application's end needs none; it may never come if the peer expects no more bytes.
void Pipe::onNoWindow() {
  noWindow_ = true;
  if (!hangup_ || hasToRepeat()) {
    return;
  }
  const ssize_t n = io::peek(fd_.get());
  if (n == 0) {
    onAppEnd();
  } else if (n < 0 && n != -EAGAIN) {
    abort({Reason::kReset, std::string("receive: ") + std::strerror(static_cast<int>(-n)), ""});
  }
}

void Pipe::stopsStalling() {
  noWindow_ = false;
  stalledMs_ = 0;
}

/// Whether bytes wait is looked at here and not when the window ran out, which in a fast stream it
/// does all the time. Bytes that were seen wait until the peer grants window.
bool Pipe::stalled() {
  const uint64_t limitMs = pod_.worker().settings.stalledMs;
  if (limitMs == 0 || released() || !opened_ || !noWindow_ || appEnded_) {
    return false;
  }
  const uint64_t nowMs = pod_.worker().loop.nowMs();
  if (stalledMs_ == 0) {
    stalledMs_ = hasToRepeat() || io::peek(fd_.get()) > 0 ? nowMs : 0;
  }
  return stalledMs_ != 0 && nowMs - stalledMs_ >= limitMs;
}

void Pipe::onStalled() {
  const uint64_t ms = pod_.worker().loop.nowMs() - stalledMs_;
  abort({Reason::kLimit, "the peer granted no window for " + std::to_string(ms) + " ms", ""});
}

/// Says to this stream what an earlier one was told in vain.
void Pipe::repeatOnce(std::span<uint8_t> room) {
  const std::span<const uint8_t> left = retry_->said.bytes().subspan(repeated_);
  const size_t n = std::min(room.size(), left.size());
  std::copy_n(left.begin(), n, room.begin());
  tunnel_->h2().commit(id_, n);
  tunnel_->markSaid();
  repeated_ += n;
  activeMs_ = pod_.worker().loop.nowMs();
  forgetSaid();
}

void Pipe::remember(std::span<const uint8_t> said) {
  if (retry_->said.size() + said.size() > kRetryBytesMax) {
    retry_->overrun = true;
    retry_->said = {};
    repeated_ = 0;
  } else if (!retry_->overrun) {
    retry_->said.append(said);
    repeated_ = retry_->said.size();
  }
  account();
}

void Pipe::onAppEnd() {
  appEnded_ = true;
  activeMs_ = pod_.worker().loop.nowMs();
  tunnel_->h2().end(id_);
  tunnel_->markSaid();
  finishIfDone();
  account();
  watchIdle();
}

void Pipe::deliver(std::span<uint8_t> data) {
  if (released() || data.empty()) {
    return;
  }
  if (!connected_ || !pending_.empty()) {
    pending_.append(data);
    return;
  }
  if (pieces_.empty()) {
    tunnel_->touch(this);
  }
  pieces_.push_back({data.data(), data.size()});
  if (pieces_.size() == kGatherPieces) {
    flushToApp();
  }
}

void Pipe::flushToApp() {
  if (released() || pieces_.empty()) {
    return;
  }
  ssize_t n = io::sendPieces(fd_.get(), pieces_, nextToApp());
  pod_.worker().loop.woke();
  if (n < 0 && n != -EAGAIN) {
    pieces_.clear();
    abort({Reason::kReset, std::string("send: ") + std::strerror(static_cast<int>(-n)), ""});
    return;
  }
  auto taken = static_cast<size_t>(std::max<ssize_t>(n, 0));
  took(taken);
  for (const iovec& piece : pieces_) {
    const size_t skipped = std::min(taken, piece.iov_len);
    taken -= skipped;
    pending_.append({static_cast<uint8_t*>(piece.iov_base) + skipped, piece.iov_len - skipped});
  }
  pieces_.clear();
  if (peerEnded_ && pending_.empty()) {
    endToApp();
  }
}

void Pipe::writePending() {
  const ssize_t n = io::sendSome(fd_.get(), pending_.bytes(), nextToApp());
  if (n == -EAGAIN) {
    return;
  }
  if (n < 0) {
    abort({Reason::kReset, std::string("send: ") + std::strerror(static_cast<int>(-n)), ""});
    return;
  }
  pending_.consume(static_cast<size_t>(n));
  took(static_cast<size_t>(n));
  account();
  if (pending_.empty()) {
    pending_.shrink();
    if (peerEnded_) {
      endToApp();
    }
  }
}

void Pipe::took(size_t n) {
  if (n == 0) {
    return;
  }
  sentToApp() += n;
  activeMs_ = pod_.worker().loop.nowMs();
  pod_.worker().counters.add(Counter::kBytesToApps, n);
  if (!peerEnded_) {
    tunnel_->h2().consumed(id_, n);
    tunnel_->markSaid();
  }
}

void Pipe::onPeerEnd() {
  if (released()) {
    return;
  }
  peerEnded_ = true;
  activeMs_ = pod_.worker().loop.nowMs();
  if (connected_ && pieces_.empty() && pending_.empty()) {
    endToApp();
  }
  account();
  watchIdle();
}

void Pipe::endToApp() {
  if (!shut_) {
    shut_ = true;
    if (!appEnded_) {  // else close() follows, and says the same
      io::shutdownWrite(fd_.get());
    }
  }
  finishIfDone();
}

void Pipe::finishIfDone() {
  if (appEnded_ && shut_ && !released()) {
    io::endOnClose(fd_.get());
    finish(EventKind::kClosed, {});
  }
}

}  // namespace weft::proxy
