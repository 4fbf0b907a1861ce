// SPDX-License-Identifier: Apache-2.0
// The first words of a tunnel: which leave at once, and which wait for others to go along.
#include <vector>

#include "proxy/pipe.h"
#include "proxy/tunnel.h"

namespace weft::proxy {
namespace {

/// For so many turns, none of which waits, a server's first flight (SETTINGS and ticket) is held
/// back for the answer to the request that came with the client's: by then a local application has
/// accepted. And for so many again from there, since it may have answered, too: one segment takes
/// all.
constexpr int kGreetingTurnsMax = 3;
/// What a client answers to that flight is next to nothing (SETTINGS with ACK), and nobody waits
/// for it: its application may say something meanwhile.
constexpr uint64_t kGreetingAnswerMs = 10;

}  // namespace

/// The flights of a handshake are dear to make and dear to answer. So each leaves as soon as it is
/// made, not with the rest of the turn: the two ends then work at the same time (measured: full
/// handshakes with 32 at once).
void Tunnel::sendFlight() {
  if (state_ == State::kUp && role_ == tls::Role::kServer) {
    return;  // what follows is not part of it: see kGreetingTurnsMax
  }
  if (state_ == State::kUp) {
    std::vector<Pipe*> pipes;
    for (const auto& [id, pipe] : pipes_) {
      pipes.push_back(pipe);
    }
    for (Pipe* pipe : pipes) {
      pipe->onAgain();  // what its application has said goes along
    }
  }
  flush();
}

void Tunnel::onAppAccepted() {
  if (greetingTurns_ > 0 && !std::exchange(awaited_, true)) {
    greets_ = true;
  }
  markDirty();
}

/// A server's first flight waits for what the request's application answers, and what a client
/// answers to it for what its own says next. Any other reason to flush ends the wait.
bool Tunnel::waitsWithGreeting(bool said) {
  io::Loop& loop = pod_.worker().loop;
  if (role_ == tls::Role::kServer) {
    greetingTurns_ = kGreetingTurnsMax;
    loop.again(this);
    return true;
  }
  if (said || timer_.running()) {
    return false;
  }
  timer_.start(loop, kGreetingAnswerMs, [this] { markDirty(); });
  return true;
}

void Tunnel::holdGreeting() {
  if (--greetingTurns_ > 0) {
    pod_.worker().loop.again(this);
  } else {
    markDirty();
  }
}

}  // namespace weft::proxy
