// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace weft::http {

/// The PING that asks whether a peer has read a drain's first GOAWAY; no H2Pulse asks it.
inline constexpr uint64_t kDrainQuestion = UINT64_MAX;

/// When a connection sends PING, and what the answers tell: whether the peer is there, and how far
/// away. Whatever arrives is a sign of life, so a busy connection needs no PING for that. One PING
/// is under way at a time. Times are of one monotonic clock.
class H2Pulse {
 public:
  H2Pulse(uint32_t pingAfterMs, uint32_t deadAfterMs)
      : pingAfterMicros_(uint64_t{1000} * pingAfterMs),
        deadAfterMicros_(uint64_t{1000} * deadAfterMs) {}

  void onBytes(uint64_t nowMicros) { heardMicros_ = nowMicros; }
  /// True when it is time to ask a silent peer.
  bool due(uint64_t nowMicros);
  /// True when a round trip should be measured: none is known, or the last is old.
  bool stale(uint64_t nowMicros) const;
  /// The payload of the PING to be sent now. None may be under way.
  uint64_t ask(uint64_t nowMicros);
  /// False when the answer is not to our last question.
  bool onAnswer(uint64_t payload, uint64_t nowMicros);
  bool asking() const { return asking_; }
  /// True when the peer was asked, had time to answer, and nothing came for too long. Time in which
  /// we ourselves did not run is not held against it.
  bool dead(uint64_t nowMicros) const;
  uint32_t rttMicros() const { return rttMicros_; }

 private:
  uint64_t pingAfterMicros_;
  uint64_t deadAfterMicros_;
  uint64_t heardMicros_ = 0;
  uint64_t askedMicros_ = 0;
  uint64_t answeredMicros_ = 0;
  uint64_t question_ = 0;
  uint32_t rttMicros_ = 0;
  bool asking_ = false;
};

}  // namespace weft::http
