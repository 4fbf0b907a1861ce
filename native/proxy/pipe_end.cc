// SPDX-License-Identifier: Apache-2.0
// How a pipe ends, and where its connection may go instead.
#include <utility>

#include "base/clock.h"
#include "proxy/outbound.h"
#include "proxy/pipe.h"
#include "proxy/tunnel.h"

namespace weft::proxy {

using http::H2Error;

void Pipe::onPeerReset(H2Error code) {
  flushToApp();  // what came before, perhaps in the same segment
  if (released()) {
    return;
  }
  streamGone_ = true;
  if (appEnded_ && peerEnded_ && code == H2Error::kNoError) {
    account();
    return;  // both ends were said; what is pending still goes out
  }
  const Outcome outcome{Reason::kReset,
                        "the peer reset the stream, code " + std::to_string(static_cast<int>(code)),
                        ""};
  if (code == H2Error::kRefusedStream) {  // the peer did nothing with it
    failed(outcome, false);
  } else {
    abort(outcome);
  }
}

void Pipe::onTunnelGone(const Outcome& outcome) {
  const bool hadStream = tunnel_ != nullptr;
  tunnel_ = nullptr;
  streamGone_ = true;
  if (!hadStream && !released()) {
    failed(outcome, true);
    return;
  }
  if (appEnded_ && peerEnded_ && !released()) {
    account();
    return;  // both ends were said and nothing is lost: what is pending still goes out
  }
  abort(outcome);
}

void Pipe::reauthorize() {
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

void Pipe::describe(Snapshot& snapshot) const {
  snapshot.add(pod_.spec().uid, info_, opened_);
}

void Pipe::failed(const Outcome& outcome, bool elsewhere) {
  const bool wanted = outcome.reason == Reason::kConnect || outcome.reason == Reason::kTls ||
                      outcome.reason == Reason::kIdentity || outcome.reason == Reason::kH2 ||
                      !elsewhere;
  if (released() || opened_ || !wanted || retry_ == nullptr || !retry_->possible() ||
      (elsewhere && info_.destinationService.empty())) {
    abort(outcome);
    return;
  }
  if (elsewhere) {
    lease_.failed(monotonicMillis());
  }
  if (tunnel_ != nullptr && !streamGone_) {
    tunnel_->h2().reset(id_, H2Error::kCancel);
    tunnel_->markDirty();
  }
  pod_.worker().loop.unwatch(fd_.get());
  Attempt attempt{std::move(fd_), info_, std::move(retry_)};
  leave();
  if (!pod_.outbound().retry(attempt, elsewhere)) {
    pod_.outbound().refuse(std::move(attempt.fd), attempt.info, outcome);
  }
}

void Pipe::abort(const Outcome& outcome) {
  if (released()) {
    return;
  }
  if (tunnel_ != nullptr && !streamGone_) {
    if (info_.direction == Direction::kInbound && !opened_) {
      tunnel_->refuse(id_, outcome.reason == Reason::kDenied ? 401 : 503);
    } else {
      tunnel_->h2().reset(id_, H2Error::kConnectError);
      tunnel_->markDirty();
    }
  }
  if (!opened_ && (outcome.reason == Reason::kConnect || outcome.reason == Reason::kTls ||
                   outcome.reason == Reason::kIdentity)) {
    lease_.failed(monotonicMillis());
  }
  finish(opened_ ? EventKind::kClosed : EventKind::kRefused, outcome);
}

void Pipe::finish(EventKind kind, const Outcome& outcome) {
  CounterRow& counters = pod_.worker().counters;
  if (kind == EventKind::kRefused) {
    counters.add(Counter::kStreamsRefused);
  } else {
    if (!opened_) {
      opened();  // it ended before the peer's answer was read
    }
    counters.add(Counter::kStreamsClosed);
  }
  if (outcome.reason == Reason::kReset) {
    counters.add(Counter::kStreamsReset);
  }
  pod_.report(kind, info_, outcome);
  leave();
}

/// Takes it out of everything that knows it.
void Pipe::leave() {
  timer_.cancel();
  pod_.worker().loop.close(fd_);
  if (waitList_ != nullptr) {
    std::erase(*waitList_, this);
  }
  Tunnel* tunnel = std::exchange(tunnel_, nullptr);
  release();
  account();
  if (tunnel != nullptr) {
    tunnel->detach(id_, this);
  }
}

}  // namespace weft::proxy
