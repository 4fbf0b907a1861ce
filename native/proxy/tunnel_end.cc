// SPDX-License-Identifier: Apache-2.0
// How a tunnel ends: by failure, by order, or because nobody needs it.
#include <cerrno>
#include <utility>

#include "proxy/pipe.h"
#include "proxy/tunnel.h"

namespace weft::proxy {
namespace {

Counter counterOf(Reason reason) {
  switch (reason) {
    case Reason::kIdentity:
      return Counter::kTunnelsFailedIdentity;
    case Reason::kTls:
      return Counter::kTunnelsFailedTls;
    case Reason::kH2:
      return Counter::kTunnelsFailedHttp2;
    case Reason::kConnect:
      return Counter::kTunnelsFailedConnect;
    default:
      return Counter::kTunnelsClosed;
  }
}

}  // namespace

void Tunnel::failBy(const Status& status) {
  if (http2Failed_) {
    fail({Reason::kH2, status.message(), ""});
  } else if (status.code() == Code::kDenied) {
    fail({Reason::kIdentity, status.message(), ""});
  } else if (status.code() == Code::kClosed) {
    const bool clean = pipes_.empty() && waiting_.empty();
    fail({clean ? Reason::kNone : Reason::kReset, "the peer closed the tunnel", ""});
  } else {
    fail({Reason::kTls, status.message(), ""});
  }
}

/// Ends the tunnel: its pipes are reset, its user told, and the peer still gets what explains the
/// end (a TLS alert or GOAWAY), which a close with unread input would destroy by RST.
void Tunnel::fail(const Outcome& outcome) {
  if (released() || gone_ || state_ == State::kLingering) {
    return;
  }
  const bool established = state_ != State::kConnecting;
  gone_ = true;
  session_->abandon();  // else it would be computed for nobody, beside those that are waited for
  pod_.worker().counters.add(counterOf(outcome.reason));
  user_.onTunnelGone(*this, outcome);
  blocked_.clear();
  touched_.clear();
  for (auto& [id, pipe] : std::exchange(pipes_, {})) {
    pipe->onTunnelGone(outcome);
  }
  for (Pipe* pipe : std::exchange(waiting_, {})) {
    pipe->onTunnelGone(outcome);
  }
  if (!established || outcome.reason == Reason::kReset || outcome.reason == Reason::kLimit) {
    die();
    return;
  }
  if (http2Failed_ && h2_->wantsProduce()) {
    h2_->produce();
  }
  // A session that failed seals no more; its alert already waits among what is outgoing.
  [[maybe_unused]] const Status sealed = session_->seal();
  state_ = State::kLingering;
  tick_.cancel();
  expiry_.cancel();
  send();
  if (hangup_ && drained_) {
    die();  // the peer has ended, too, and nothing of it is unread: close() says the rest
    return;
  }
  endWhenSent();
  timer_.start(pod_.worker().loop, kLingerMs, [this] { die(); });
  pod_.worker().loop.again(this);
}

/// Lingering: FIN follows the last byte, also when the socket has no room for it yet.
void Tunnel::endWhenSent() {
  const bool sent = state_ == State::kLingering && session_->outgoing().empty();
  if (sent && !std::exchange(ended_, true)) {
    io::shutdownWrite(fd_.get());
  }
}

/// Lingering: throws away what the peer still sends, within bounds.
void Tunnel::discard() {
  std::vector<uint8_t>& scratch = pod_.worker().cipher;
  while (!released()) {
    const ssize_t n = io::receiveSome(fd_.get(), scratch);
    if (n == -EAGAIN) {
      return;
    }
    lingered_ += n > 0 ? static_cast<size_t>(n) : kLingerBytesMax;
    if (lingered_ >= kLingerBytesMax) {
      die();
    }
  }
}

void Tunnel::die() {
  if (released()) {
    return;
  }
  state_ = State::kDead;
  handshake_ = {};
  account(0);
  timer_.cancel();
  tick_.cancel();
  expiry_.cancel();
  pod_.worker().loop.close(fd_);
  release();
}

void Tunnel::abort(const Outcome& outcome) {
  fail(outcome);
  die();
}

bool Tunnel::peerDenied() const {
  const auto& list = pod_.worker().tls.denyList;
  return list != nullptr && list->denies(session_->peer());
}

void Tunnel::recheckPeer() {
  if (!released() && !gone_ && state_ == State::kUp && peerDenied()) {
    fail({Reason::kIdentity, "the peer is on the deny list now", ""});
  }
}

void Tunnel::describe(Snapshot& snapshot) const {
  TunnelInfo info;
  info.direction = role_ == tls::Role::kClient ? Direction::kOutbound : Direction::kInbound;
  info.peer = peer_;
  info.local = local_;
  info.ownIdentity = own_->id().text;
  info.up = state_ == State::kUp;
  if (info.up) {
    info.peerIdentity = session_->peer().id.text;
  }
  info.streams = load();
  info.startedMicros = startedMicros_;
  info.unsentBytes = session_->unsent();
  info.retiring = retiring_ || gone_;
  snapshot.add(pod_.spec().uid, info);
}

void Tunnel::retire() {
  retiring_ = true;
  closeIfIdle();
}

void Tunnel::drain() {
  if (role_ == tls::Role::kServer) {
    draining_ = true;
    if (state_ == State::kUp) {
      h2_->drain();
      markDirty();
    }  // else when the handshake is done: its peer knows of nothing yet
  }
  retire();
}

/// The certificate that was proved here is superseded: new streams go to new tunnels.
void Tunnel::onIdentity() {
  if (own_ != pod_.identity()) {
    drain();
  }
}

/// An unused tunnel closes: soon when it is retiring, else after the idle time.
void Tunnel::closeIfIdle() {
  if (released() || gone_ || state_ != State::kUp) {
    return;
  }
  if (load() > 0) {
    timer_.cancel();
    closeTries_ = 0;
    return;
  }
  WorkerState& worker = pod_.worker();
  const uint64_t idleMs = worker.settings.tunnelIdleMs;
  const bool client = role_ == tls::Role::kClient;
  retiring_ = retiring_ || (client && idleMs == 0);
  // A client closes what it does not use; a server only when the client should have.
  const uint64_t keepMs = client ? idleMs : std::max(2 * idleMs, kServerIdleMsMin);
  if (retiring_ && !draining_) {
    timer_.cancel();
    closing_ = true;
    markDirty();
    return;
  }
  const uint64_t delayMs = draining_ ? kDrainGraceMs : keepMs;
  timer_.start(worker.loop, delayMs, [this] { closeGracefully(); });
}

void Tunnel::closeGracefully() {
  produce();
  markDirty();
  const bool waiting = load() > 0 || h2_->openStreams() > 0 || writeBlocked_;
  if (waiting && ++closeTries_ <= kCloseTriesMax) {
    // Our pipes ended, but their last frames wait for the peer's windows, or for room to send.
    timer_.start(pod_.worker().loop, kLingerMs, [this] { closeGracefully(); });
    return;
  }
  h2_->goaway(http::H2Error::kNoError);
  h2_->produce();
  session_->closeNotify();
  fail({waiting ? Reason::kLimit : Reason::kNone, "closed by us", ""});
}

}  // namespace weft::proxy
