// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "proxy/events.h"

namespace weft::proxy {

/// Kinds of connections that are kept apart until they are taken.
inline constexpr size_t kTotalsMax = 4096;

/// What a kind of connections has in common: all that metrics tell them apart by.
struct TotalsKey {
  Direction direction = Direction::kOutbound;
  std::string sourceWorkload;  ///< uid, as the next.
  std::string destinationWorkload;
  std::string sourceIdentity;
  std::string destinationIdentity;
  std::string destinationService;
  bool mutualTls = false;
  bool direct = false;
  Reason reason = Reason::kNone;
};

/// Upper bounds of the histogram of round-trip times, in microseconds; longer ones come last.
inline constexpr std::array<uint32_t, 10> kRttBoundsMicros = {
    25, 50, 100, 250, 500, 1'000, 5'000, 25'000, 100'000, 1'000'000};

struct TotalsSums {
  uint64_t opened = 0;
  uint64_t closed = 0;
  uint64_t failed = 0;
  uint64_t bytesSent = 0;
  uint64_t bytesReceived = 0;
  uint64_t retransmits = 0;
  uint64_t rttMicros = 0;  ///< Of connections that ended and were measured.
  std::array<uint64_t, kRttBoundsMicros.size() + 1> rttCounts{};
};

/// Sums connections up by kind, so that a reader is told of each kind and not of each connection.
/// One worker's; not thread safe.
class Totals {
 public:
  void count(EventKind kind, const ConnectionInfo& info, const Outcome& outcome);
  bool full() const { return kinds_.size() >= kTotalsMax; }
  bool empty() const { return kinds_.empty(); }
  /// Calls `visit(const TotalsKey&, const TotalsSums&)` for each kind and forgets them all.
  template <typename Visit>
  void take(Visit visit) {
    for (const auto& [text, kind] : kinds_) {
      visit(kind.key, kind.sums);
    }
    kinds_.clear();
  }

 private:
  struct Kind {
    TotalsKey key;
    TotalsSums sums;
  };
  std::unordered_map<std::string, Kind> kinds_;
  std::string text_;  // the key as text, kept for its memory
};

}  // namespace weft::proxy
