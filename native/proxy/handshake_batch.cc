// SPDX-License-Identifier: Apache-2.0
#include "proxy/handshake_batch.h"

#include "base/clock.h"
#include "crypto/mode.h"

namespace weft::proxy {
namespace {
/// Of kernels in one turn: data of open connections waits no longer than that.
constexpr uint64_t kNanosecondsPerTurn = 1'000'000;
}  // namespace

HandshakeBatch::HandshakeBatch(io::Loop& loop, crypto::Mode mode, size_t fibersMax)
    : loop_(loop),
      batch_(mode,
             mode == crypto::Mode::kAvx512 ? crypto::breakEvens(threadNanos)
                                           : crypto::BreakEvens::never(),
             fibersMax, monotonicNanos, [this] { loop_.atTurnEnd(this); }) {}

void HandshakeBatch::onTurnEnd() {
  batch_.settle(kNanosecondsPerTurn);
  loop_.again(this);
}

// In the next turn, after what came meanwhile.
void HandshakeBatch::onAgain() {
  if (!batch_.settle(kNanosecondsPerTurn) || batch_.makeShares()) {
    loop_.again(this);
  }
}

}  // namespace weft::proxy
