// SPDX-License-Identifier: Apache-2.0
#include "proxy/listener.h"

#include <cerrno>
#include <utility>

namespace weft::proxy {
namespace {
constexpr uint64_t kRetryMs = 50;
}  // namespace

Listener::Listener(Pod& pod, UniqueFd fd, Accept onAccept)
    : Connection(pod), fd_(std::move(fd)), onAccept_(std::move(onAccept)) {}

void Listener::accept() {
  if (!std::exchange(accepts_, true)) {
    pod_.worker().loop.watch(fd_.get(), this);
  }
}

void Listener::onReady(uint32_t) {
  pod_.worker().loop.queueNew(this);
}

void Listener::onNew() {
  acceptSome();
}

void Listener::acceptSome() {
  size_t failed = 0;
  for (size_t i = 0; i < kAcceptsPerTurn; i++) {
    if (released()) {
      return;
    }
    Endpoint peer;
    const int fd = io::acceptTcp(fd_.get(), peer);
    if (fd >= 0) {
      onAccept_(UniqueFd(fd), peer);
    } else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
      pod_.worker().counters.add(Counter::kLimitReached);
      retryLater();
      return;
    } else if (fd == -EAGAIN) {
      return;
    } else {
      failed++;  // a connection that died in the queue, unless there is nothing else
    }
  }
  if (failed == kAcceptsPerTurn) {
    retryLater();
  } else {
    pod_.worker().loop.queueNew(this);
  }
}

void Listener::retryLater() {
  retry_.start(pod_.worker().loop, kRetryMs, [this] { acceptSome(); });
}

void Listener::abort(const Outcome&) {
  if (!released()) {
    retry_.cancel();
    if (accepts_) {
      pod_.worker().loop.close(fd_);
    } else {
      fd_.reset();
    }
    release();
  }
}

void Listener::drain() {
  abort({});
}

}  // namespace weft::proxy
