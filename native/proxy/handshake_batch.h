// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/batch.h"
#include "io/loop.h"

namespace weft::proxy {

/// Gathers what the handshakes of one worker compute. Each turn of the loop takes what came; when
/// all of it has gone as far as it can, what is gathered is computed, in the same turn.
class HandshakeBatch final : public io::Task {
 public:
  HandshakeBatch(io::Loop& loop, crypto::Mode mode, size_t fibersMax);

  void onTurnEnd() override;
  void onAgain() override;

  /// Null where handshakes compute by themselves.
  crypto::Batch* batch() { return batch_.mode() == crypto::Mode::kOff ? nullptr : &batch_; }
  /// From any thread.
  const crypto::BatchTotals& totals() const { return batch_.totals(); }

 private:
  io::Loop& loop_;
  crypto::Batch batch_;
};

}  // namespace weft::proxy
