// SPDX-License-Identifier: Apache-2.0
#include "proxy/handshake_batch.h"

#include "base/clock.h"
#include "crypto/mode.h"

namespace weft::proxy {
namespace {
/// Of handshakes at a turn's end. A turn has four such rounds at most, and the next begins with
/// what epoll gives: data of open connections waits no longer than that.
constexpr uint64_t kNanosecondsPerRound = 250'000;
}  // namespace

HandshakeBatch::HandshakeBatch(io::Loop& loop, crypto::Mode mode, size_t fibersMax)
    : loop_(loop),
      batch_(mode,
             mode == crypto::Mode::kAvx512 ? crypto::breakEvens(threadNanos)
                                           : crypto::BreakEvens::never(),
             fibersMax, monotonicNanos, [this] { loop_.atTurnEnd(this); }) {}

void HandshakeBatch::onTurnEnd() {
  if (batch_.settle(kNanosecondsPerRound)) {
    loop_.again(this);
  } else {
    loop_.atTurnEnd(this);
  }
}

// In the next turn, after what came meanwhile, when nothing waits.
void HandshakeBatch::onAgain() {
  if (batch_.makeShares()) {
    loop_.again(this);
  }
}

}  // namespace weft::proxy
