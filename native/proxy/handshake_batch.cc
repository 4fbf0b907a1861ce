// SPDX-License-Identifier: Apache-2.0
#include "proxy/handshake_batch.h"

#include <utility>

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

// A turn takes few events: as long as it brings handshakes the next may bring more of them.
bool HandshakeBatch::gathers() {
  const bool more = std::exchange(begunBefore_, batch_.begun()) != batch_.begun();
  gathered_ = more && gathered_ < kGatheringTurnsMax ? gathered_ + 1 : 0;
  return gathered_ != 0;
}

void HandshakeBatch::onTurnEnd() {
  if (gathers()) {
    loop_.again(this);
    return;
  }
  if (batch_.settle(kNanosecondsPerRound)) {
    loop_.again(this);
  } else {
    loop_.atTurnEnd(this);
  }
}

// In the next turn, after what came meanwhile.
void HandshakeBatch::onAgain() {
  if (gathered_ != 0) {
    loop_.atTurnEnd(this);
  } else if (batch_.makeShares()) {
    loop_.again(this);
  }
}

}  // namespace weft::proxy
