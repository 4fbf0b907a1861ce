// SPDX-License-Identifier: Apache-2.0
#include "proxy/tunnel.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "proxy/pipe.h"

namespace weft::proxy {
namespace {

constexpr uint64_t kTickMs = 1000;

}  // namespace

Tunnel::Tunnel(Pod& pod, TunnelUser& user, tls::Role role, Parts parts)
    : Connection(pod),
      user_(user),
      fd_(std::move(parts.fd)),
      session_(std::move(parts.session)),
      windows_(std::move(parts.windows)),
      role_(role),
      peer_(parts.peer),
      local_(parts.local),
      source_(std::move(parts.source)),
      handshake_(std::move(parts.handshake)),
      own_(pod.identity()),
      startedMicros_(monotonicMicros()) {
  WorkerState& worker = pod_.worker();
  worker.loop.watch(fd_.get(), this);
  if (role_ == tls::Role::kServer) {
    worker.counters.add(Counter::kTunnelsAccepted);
    startHandshake();
  } else {
    worker.counters.add(Counter::kTunnelsOpened);
    timer_.start(worker.loop, worker.settings.connectTimeoutMs, [this] {
      pod_.worker().counters.add(Counter::kTunnelsTimedOut);
      fail({Reason::kConnect, "connect to " + peer_.toString() + " took too long", ""});
    });
  }
}

void Tunnel::startHandshake() {
  WorkerState& worker = pod_.worker();
  state_ = State::kHandshaking;
  timer_.start(worker.loop, worker.settings.handshakeTimeoutMs, [this] {
    pod_.worker().counters.add(Counter::kTunnelsTimedOut);
    fail({Reason::kTls, "the TLS handshake took too long", ""});
  });
  if (const Status status = session_->start(unixSeconds(), this); !status.ok()) {
    failBy(status);
  } else {
    markDirty();
  }
}

void Tunnel::onReady(uint32_t events) {
  arrived_ |= events;
  if (state_ == State::kConnecting || state_ == State::kHandshaking) {
    pod_.worker().loop.queueNew(this);
  } else {
    onNew();
  }
}

/// Takes the events that have arrived, if they were not taken meanwhile.
void Tunnel::onNew() {
  const uint32_t events = std::exchange(arrived_, 0);
  if (released() || events == 0) {
    return;
  }
  const bool shaking = state_ == State::kConnecting || state_ == State::kHandshaking;
  if (state_ == State::kConnecting) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
      return;
    }
    if (const Status status = io::connectResult(fd_.get(), events); !status.ok()) {
      fail({Reason::kConnect, peer_.toString() + ": " + status.message(), ""});
      return;
    }
    startHandshake();
    if (released()) {
      return;
    }
  }
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    hangup_ = true;
    drained_ = false;
  }
  if ((events & EPOLLOUT) != 0 && std::exchange(writeBlocked_, false)) {
    markDirty();
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    readSome();
  }
  if ((events & EPOLLHUP) != 0 && session_->waits()) {
    fail({Reason::kTls, "the peer is gone", ""});  // and can be sent nothing any more
  }
  if (shaking && !released()) {
    sendFlight();
  }
}

void Tunnel::onAgain() {
  if (released()) {
    return;  // with its pod, perhaps
  }
  if (std::exchange(unread_, false) || state_ == State::kLingering) {
    readSome();
  }
  if (greetingTurns_ > 0) {
    holdGreeting();
  }
}

void Tunnel::onTurnEnd() {
  flush();
}

void Tunnel::readSome() {
  if (released()) {
    return;
  }
  if (state_ == State::kLingering) {
    discard();
    return;
  }
  if (session_->waits()) {
    missed_ = true;
    return;
  }
  std::vector<uint8_t>& scratch = pod_.worker().cipher;
  for (size_t i = 0; i < kTunnelReadsPerTurn; i++) {
    if (released() || state_ == State::kLingering || state_ == State::kConnecting) {
      return;
    }
    const size_t most = state_ == State::kHandshaking ? kHandshakeReadBytes : scratch.size();
    const ssize_t n = io::receiveSome(fd_.get(), std::span(scratch).first(most));
    if (n == -EAGAIN) {
      return;
    }
    if (n <= 0) {
      hangup_ = drained_ = true;
      const bool clean = n == 0 && pipes_.empty() && waiting_.empty();
      const std::string why =
          n == 0 ? "the peer closed the tunnel" : std::strerror(static_cast<int>(-n));
      fail({clean ? Reason::kNone : state_ == State::kUp ? Reason::kReset : Reason::kTls, why, ""});
      return;
    }
    const auto count = static_cast<size_t>(n);
    drained_ = count < most;
    if (!receive({scratch.data(), count})) {
      return;
    }
    if (session_->waits()) {
      missed_ = !drained_ || hangup_;
      return;
    }
    if (drained_ && !hangup_) {
      return;
    }
  }
  unread_ = true;
  pod_.worker().loop.again(this);
}

/// The handshake goes on, and with it what came in the meantime.
void Tunnel::onSessionReady() {
  CHECK(state_ == State::kHandshaking);  // fail() abandons what waits
  if (!receive({})) {
    return;
  }
  if (std::exchange(missed_, false)) {
    readSome();
  }
  if (!released()) {
    sendFlight();
  }
}

/// Decrypts and routes one read. False when the tunnel ended.
bool Tunnel::receive(std::span<uint8_t> cipher) {
  const Status status = session_->receive(cipher, pod_.worker().plain, unixSeconds(), *this);
  flushTouched();
  if (released()) {
    return false;
  }
  if (!status.ok()) {
    failBy(status);
    return false;
  }
  markDirty();
  return true;
}

Status Tunnel::onHandshakeDone() {
  if (peerDenied()) {
    return {Code::kDenied, "the peer " + session_->peer().id.text + " is on the deny list"};
  }
  WorkerState& worker = pod_.worker();
  state_ = State::kUp;
  upMicros_ = monotonicMicros();
  timer_.cancel();
  handshake_ = {};
  const auto make = role_ == tls::Role::kServer ? http::newH2Server : http::newH2Client;
  h2_ = make(worker.settings.h2Row, worker.settings.h2, {*this, *this, *windows_});
  if (draining_) {
    h2_->drain();
  }
  tick_.start(worker.loop, kTickMs, [this] { tick(); });
  watchExpiry();
  user_.onTunnelUp(*this);
  closeIfIdle();
  greets_ = role_ == tls::Role::kServer;
  markDirty();
  return {};
}

/// A tunnel outlives neither certificate: what was proved is no longer so.
void Tunnel::watchExpiry() {
  const int64_t end = std::min(own_->notAfterSeconds(), session_->peer().notAfterSeconds);
  const int64_t left = std::max<int64_t>(end - unixSeconds(), 0);
  expiry_.start(pod_.worker().loop, static_cast<uint64_t>(left) * 1000, [this] {
    fail({Reason::kIdentity, "a certificate of the tunnel has expired", ""});
  });
}

void Tunnel::tick() {
  const uint64_t now = monotonicMicros();
  if (!h2_->greeted() && now - upMicros_ > pod_.worker().settings.handshakeTimeoutMs * 1000) {
    pod_.worker().counters.add(Counter::kTunnelsTimedOut);
    fail({Reason::kH2, "the peer sent no SETTINGS", ""});
    return;
  }
  if (const Status status = h2_->tick(now); !status.ok()) {
    pod_.worker().counters.add(Counter::kTunnelsTimedOut);
    http2Failed_ = true;
    failBy(status);
    return;
  }
  resetStalled();
  markDirty();
  tick_.start(pod_.worker().loop, kTickMs, [this] { tick(); });
}

/// A peer that takes nothing would else hold sockets and applications for as long as it likes.
void Tunnel::resetStalled() {
  std::vector<Pipe*> stalled;
  for (const auto& [id, pipe] : pipes_) {
    if (pipe->stalled()) {
      stalled.push_back(pipe);
    }
  }
  for (Pipe* pipe : stalled) {
    pipe->onStalled();
  }
}

Status Tunnel::onPlain(std::span<uint8_t> plain) {
  Status status = h2_->receive(plain, monotonicMicros());
  http2Failed_ = !status.ok();
  if (role_ == tls::Role::kClient && !greeted_ && h2_->greeted()) {
    greeted_ = greets_ = true;
  }
  return status;
}

Pipe* Tunnel::pipeOf(http::StreamId id) const {
  const auto found = pipes_.find(id);
  return found == pipes_.end() ? nullptr : found->second;
}

void Tunnel::onRequest(http::StreamId id, std::string_view method,
                       const http::ConnectRequest& request) {
  user_.onTunnelRequest(*this, id, method, request);
}

void Tunnel::onResponse(http::StreamId id, int status, const std::vector<http::Header>&) {
  if (Pipe* pipe = pipeOf(id)) {
    pipe->onAnswer(status);
  }
}

void Tunnel::onData(http::StreamId id, std::span<uint8_t> data) {
  if (Pipe* pipe = pipeOf(id)) {
    pipe->deliver(data);
  }
}

void Tunnel::onEnd(http::StreamId id) {
  if (Pipe* pipe = pipeOf(id)) {
    pipe->onPeerEnd();
  }
}

void Tunnel::onReset(http::StreamId id, http::H2Error code) {
  if (Pipe* pipe = pipeOf(id)) {
    pipe->onPeerReset(code);
  }
}

void Tunnel::onSendable(http::StreamId id) {
  if (Pipe* pipe = pipeOf(id)) {
    pipe->resume();
  }
}

void Tunnel::onGoaway(http::StreamId, http::H2Error) {
  retire();
}

void Tunnel::detach(http::StreamId id, Pipe* pipe) {
  std::erase(blocked_, pipe);
  std::erase(touched_, pipe);
  if (pipes_.erase(id) == 0 || released()) {
    return;
  }
  closeIfIdle();
}

bool Tunnel::hasRoom() const {
  if (gone_ || retiring_ || released()) {
    return false;
  }
  if (state_ != State::kUp) {
    return load() < pod_.limits().streamsPerTunnel;
  }
  const size_t allowed = std::min<size_t>(pod_.limits().streamsPerTunnel, h2_->peerStreamsMax());
  return h2_->takesStreams() && std::max(load(), h2_->openStreams()) < allowed;
}

bool Tunnel::congested() const {
  const size_t unsent = session_->unsent();
  return unsent >= kTunnelUnsentHigh ||
         (unsent > 0 && writeBlocked_ && pod_.budget()->bytesUsedUp());
}

/// Counts `bytes` as what this tunnel buffers.
void Tunnel::account(size_t bytes) {
  if (counted_ != bytes) {
    pod_.budget()->account(std::exchange(counted_, bytes), bytes);
  }
}

void Tunnel::refuse(http::StreamId id, int status) {
  h2_->respond(id, status, {}, true);
  refused_.push_back(id);
  markDirty();
}

void Tunnel::produce() {
  if (h2_->wantsProduce()) {
    h2_->produce();
  }
  // Not before: a reset overtakes the answer that still waits, and the client would never see it.
  for (const http::StreamId id : std::exchange(refused_, {})) {
    h2_->reset(id, http::H2Error::kNoError);
  }
  if (h2_->wantsProduce()) {
    h2_->produce();
  }
}

void Tunnel::push() {
  produce();
  if (session_->unsent() >= kTunnelFlushBytes) {
    send();
  }
}

void Tunnel::flushTouched() {
  // A flush may end its pipe, which then leaves touched_: so the list is walked apart. The pipes
  // themselves live until the turn ends.
  flushing_.swap(touched_);
  for (Pipe* pipe : flushing_) {
    pipe->flushToApp();
  }
  flushing_.clear();
}

void Tunnel::flush() {
  if (released() || state_ == State::kConnecting) {
    return;
  }
  const bool said = std::exchange(said_, false);
  if (std::exchange(greets_, false) && load() > 0 && waitsWithGreeting(said)) {
    return;
  }
  greetingTurns_ = 0;
  if (std::exchange(closing_, false) && state_ == State::kUp && load() == 0) {
    closeGracefully();
    if (state_ != State::kUp) {
      return;
    }
  }
  if (state_ == State::kUp) {
    produce();
  }
  send();
  endWhenSent();
  if (!released()) {
    account(session_->unsent());
  }
  if (!released() && session_->unsent() > kTunnelUnsentMax) {
    pod_.worker().counters.add(Counter::kLimitReached);
    fail({Reason::kLimit, "the peer does not read", ""});
  }
  if (!released() && state_ == State::kUp && !congested()) {
    unblock();
  }
  if (!released() && state_ == State::kUp && h2_->wantsProduce()) {
    markDirty();
  }
}

void Tunnel::send() {
  if (state_ != State::kLingering) {
    if (const Status status = session_->seal(); !status.ok()) {
      failBy(status);
      return;
    }
  }
  while (!writeBlocked_) {
    const std::span<const uint8_t> out = session_->outgoing();
    if (out.empty()) {
      return;
    }
    const auto next = state_ == State::kLingering ? io::Next::kEnd : io::Next::kAny;
    const ssize_t n = io::sendSome(fd_.get(), out, next);
    if (n == -EAGAIN) {
      writeBlocked_ = true;
    } else if (n < 0) {
      fail({Reason::kReset, std::string("send: ") + std::strerror(static_cast<int>(-n)), ""});
      return;
    } else {
      session_->sent(static_cast<size_t>(n));
    }
  }
}

void Tunnel::unblock() {
  if (session_->unsent() > kTunnelUnsentHigh / 2) {
    return;
  }
  for (Pipe* pipe : std::exchange(blocked_, {})) {
    pipe->resume();
  }
}

}  // namespace weft::proxy
