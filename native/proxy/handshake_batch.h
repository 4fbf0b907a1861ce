// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/batch.h"
#include "io/loop.h"

namespace weft::proxy {

/// Gathers what the handshakes of one worker compute. Each turn of the loop takes what came, and
/// all of it goes as far as it can; when a turn has brought no more handshakes, what is gathered is
/// computed.
class HandshakeBatch final : public io::Task {
 public:
  /// Turns that handshakes wait for others at most. Each asks epoll without sleeping, and goes on
  /// with open connections.
  static constexpr int kGatheringTurnsMax = 4;

  HandshakeBatch(io::Loop& loop, crypto::Mode mode, size_t fibersMax);

  void onTurnEnd() override;
  void onAgain() override;

  /// Null where handshakes compute by themselves.
  crypto::Batch* batch() { return batch_.mode() == crypto::Mode::kOff ? nullptr : &batch_; }
  /// From any thread.
  const crypto::BatchTotals& totals() const { return batch_.totals(); }

 private:
  bool gathers();

  io::Loop& loop_;
  crypto::Batch batch_;
  int gathered_ = 0;          // turns
  uint64_t begunBefore_ = 0;  // as of the last look
};

}  // namespace weft::proxy
