// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/batch.h"
#include "io/loop.h"

namespace weft::proxy {

/// Gathers what the handshakes of one worker compute. Each turn of the loop takes what came, and
/// all of it goes as far as it can, open connections first; when a turn has brought no more
/// handshakes, what is gathered is computed.
class HandshakeBatch final : public io::Task {
 public:
  /// Turns that handshakes wait for others at most, unless there is more to compute than turns have
  /// time for. Each asks epoll without sleeping, and goes on with open connections.
  static constexpr int kGatheringTurnsMax = 4;
  /// A turn computes for so long, late by one step at most: data of open connections that has come
  /// meanwhile waits no longer.
  static constexpr uint64_t kNanosecondsPerTurn = 500'000;

  HandshakeBatch(io::Loop& loop, crypto::Mode mode, size_t fibersMax,
                 uint64_t nanosecondsPerTurn = kNanosecondsPerTurn);

  void onTurnOver() override;
  void onAgain() override;

  /// To be called about once a second: wipes key shares that nobody took.
  void dropOldShares() { batch_.dropOldShares(); }
  /// Null where handshakes compute by themselves.
  crypto::Batch* batch() { return batch_.mode() == crypto::Mode::kOff ? nullptr : &batch_; }
  /// From any thread.
  const crypto::BatchTotals& totals() const { return batch_.totals(); }

 private:
  bool gathers();

  io::Loop& loop_;
  const uint64_t nanosecondsPerTurn_;
  crypto::Batch batch_;
  bool behind_ = false;       // the last turn's time was too short for all that waits
  int gathered_ = 0;          // turns
  uint64_t begunBefore_ = 0;  // as of the last look
};

}  // namespace weft::proxy
