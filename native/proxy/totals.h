// SPDX-License-Identifier: Apache-2.0
#pragma once

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

struct TotalsSums {
  uint64_t opened = 0;
  uint64_t closed = 0;
  uint64_t failed = 0;
  uint64_t bytesSent = 0;
  uint64_t bytesReceived = 0;
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
