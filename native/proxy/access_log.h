// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "proxy/events.h"
#include "proxy/settings.h"

namespace weft::proxy {

/// Lines about connections that failed, of one reason, in a window of kFailureWindowMs. Anyone who
/// reaches a port can have connections refused, at no cost to himself.
inline constexpr uint32_t kFailureLinesMax = 50;
inline constexpr uint64_t kFailureWindowMs = 1000;
inline constexpr size_t kReasons = 11;

/// Lines of each reason that were left out.
using LeftOut = std::array<uint32_t, kReasons>;

/// Formats the access log: a JSON object a line, with the keys of Istio's ztunnel and the frame of
/// the process's other log lines. One worker's; not thread safe. It is not bounded itself: the
/// owner takes the lines away.
class AccessLog {
 public:
  /// `process` and `pid` stand in each line; with `opened` there is a line for each beginning too,
  /// where all connections have one.
  AccessLog(const std::string& process, int pid, bool opened, LogLines which = LogLines::kAll);

  /// Whether such an event has a line, but for limits. For those that have none nothing is
  /// formatted.
  bool wants(EventKind kind, const Outcome& outcome) const;

  /// Appends the line of one event, if it wants one and its reason is not over its limit.
  /// `nowMicros` is monotonic; `unixMillis` is what the line shows.
  void append(EventKind kind, const ConnectionInfo& info, const Outcome& outcome,
              uint64_t nowMicros, int64_t unixMillis);

  size_t size() const { return lines_.size(); }
  /// All lines so far, each with its line feed.
  std::string takeLines();
  /// What was left out in windows that have ended by `nowMicros`.
  LeftOut takeLeftOut(uint64_t nowMicros);
  /// True while a window leaves lines out: they wait for its end.
  bool leavesOut() const;

 private:
  struct Window {
    uint64_t beganMicros = 0;
    uint32_t lines = 0;
  };
  bool allows(Reason reason, uint64_t nowMicros);
  void endWindow(size_t reason);
  void begin(const char* level, int64_t unixMillis);

  std::string frame_;  // between the time and what is said
  bool opened_;
  LogLines which_;
  std::string lines_;
  std::array<Window, kReasons> windows_{};
  LeftOut leftOut_{};
  int64_t second_ = -1;  // that `time_` was made for
  std::string time_;
};

/// Appends `text` as a JSON string with its quotes (RFC 8259 section 7). What is not ASCII becomes
/// a question mark: names in the mesh are ASCII, and a peer's text must not break the line.
void appendJsonString(std::string_view text, std::string& out);

}  // namespace weft::proxy
