// SPDX-License-Identifier: Apache-2.0
#include "proxy/handshake_batch.h"

#include <utility>

#include "base/clock.h"
#include "crypto/mode.h"

namespace weft::proxy {

HandshakeBatch::HandshakeBatch(io::Loop& loop, crypto::Mode mode, size_t fibersMax,
                               uint64_t nanosecondsPerTurn)
    : loop_(loop),
      nanosecondsPerTurn_(nanosecondsPerTurn),
      batch_(mode, crypto::breakEvensOf(mode, threadNanos), fibersMax, monotonicNanos,
             [this] { loop_.afterTurn(this); }) {}

// A turn takes few events: as long as it brings handshakes the next may bring more of them. Who is
// behind has enough.
bool HandshakeBatch::gathers() {
  const bool more = std::exchange(begunBefore_, batch_.begun()) != batch_.begun();
  gathered_ = more && !behind_ && gathered_ < kGatheringTurnsMax ? gathered_ + 1 : 0;
  return gathered_ != 0;
}

void HandshakeBatch::onTurnOver() {
  if (gathers()) {
    loop_.afterTurn(this);
    return;
  }
  behind_ = !batch_.settle(nanosecondsPerTurn_);
  if (behind_) {
    loop_.afterTurn(this);
  } else {
    loop_.again(this);
  }
}

// When nothing waits, after what came meanwhile.
void HandshakeBatch::onAgain() {
  if (batch_.makeShares()) {
    loop_.again(this);
  }
}

}  // namespace weft::proxy
