// SPDX-License-Identifier: Apache-2.0
#include "proxy/access_log.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <string_view>
#include <utility>

#include "proxy/settings.h"

namespace weft::proxy {
namespace {

void appendNumber(uint64_t number, std::string& out) {
  std::array<char, 20> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), end);
}

/// A key that has nothing to say is left out.
void appendText(std::string_view key, std::string_view value, std::string& out) {
  if (!value.empty()) {
    out += key;
    appendJsonString(value, out);
  }
}

void appendEndpoint(std::string_view key, const Endpoint& endpoint, std::string& out) {
  out += key;
  out += '"';
  out += endpoint.toString();
  out += '"';
}

/// As in Istio: with a tunnel, the address of its far end. On the inbound side that is the pod's
/// own tunnel port, the peer being the source.
void appendDestination(const ConnectionInfo& info, std::string& out) {
  if (info.tunnel.port == 0) {
    appendEndpoint(",\"dst.addr\":", info.destination, out);
    return;
  }
  const bool inbound = info.direction == Direction::kInbound;
  const Endpoint end = inbound ? Endpoint{info.destination.ip, kHbonePort} : info.tunnel;
  appendEndpoint(",\"dst.addr\":", end, out);
  appendEndpoint(",\"dst.hbone_addr\":", info.destination, out);
}

void appendWho(const ConnectionInfo& info, std::string& out) {
  appendEndpoint(",\"src.addr\":", info.source, out);
  if (info.sourceWorkload) {
    appendText(",\"src.workload\":", info.sourceWorkload->name, out);
    appendText(",\"src.namespace\":", info.sourceWorkload->namespaceName, out);
  }
  appendText(",\"src.identity\":", info.sourceIdentity, out);
  appendDestination(info, out);
  const std::string_view service = info.destinationService;
  appendText(",\"dst.service\":", service.substr(service.find('/') + 1), out);
  if (info.destinationWorkload) {
    appendText(",\"dst.workload\":", info.destinationWorkload->name, out);
    appendText(",\"dst.namespace\":", info.destinationWorkload->namespaceName, out);
  }
  appendText(",\"dst.identity\":", info.destinationIdentity, out);
  out += info.direction == Direction::kInbound ? R"(,"direction":"inbound")"
                                               : R"(,"direction":"outbound")";
  if (info.direct) {
    out += R"(,"path":"direct")";
  }
}

void appendCounts(const ConnectionInfo& info, uint64_t nowMicros, std::string& out) {
  out += ",\"bytes_sent\":";
  appendNumber(info.bytesSent, out);
  out += ",\"bytes_recv\":";
  appendNumber(info.bytesReceived, out);
  out += ",\"duration\":\"";
  appendNumber((nowMicros - info.startedMicros) / 1000, out);
  out += "ms\"";
  if (info.rttMicros > 0) {
    out += ",\"rtt\":\"";
    appendNumber(info.rttMicros, out);
    out += "us\",\"retransmits\":";
    appendNumber(info.retransmits, out);
  }
}

bool hasFailed(EventKind kind, const Outcome& outcome) {
  return kind == EventKind::kRefused || outcome.reason != Reason::kNone;
}

void appendError(const Outcome& outcome, std::string& out) {
  if (outcome.reason == Reason::kNone) {
    return;
  }
  std::string text = outcome.detail.empty() ? flagOf(outcome.reason) : outcome.detail;
  if (!outcome.policy.empty()) {
    text += " (policy " + outcome.policy + ")";
  }
  appendText(",\"error\":", text, out);
}

}  // namespace

const char* flagOf(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return "-";
    case Reason::kDenied:
      return "DENY";
    case Reason::kTls:
      return "TLS_FAILURE";
    case Reason::kH2:
      return "H2_HANDSHAKE_FAILURE";
    case Reason::kIdentity:
      return "IDENTITY_ERROR";
    case Reason::kConnect:
      return "CONNECT";
    case Reason::kNoRoute:
      return "NO_ROUTE";
    case Reason::kReset:
      return "RESET";
    case Reason::kLimit:
      return "LIMIT";
    case Reason::kDrained:
      return "DRAINED";
    case Reason::kBadRequest:
      return "BAD_REQUEST";
  }
  return "UNKNOWN";
}

void appendJsonString(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", byte);
      out += escape.data();
    } else {
      out += byte < 0x80 ? c : '?';
    }
  }
  out += '"';
}

AccessLog::AccessLog(const std::string& process, int pid, bool opened, LogLines which)
    : frame_("\",\"pid\":" + std::to_string(pid) + ",\"name\":"), opened_(opened), which_(which) {
  appendJsonString(process, frame_);
  frame_ += R"(,"target":"access")";
}

bool AccessLog::wants(EventKind kind, const Outcome& outcome) const {
  if (which_ != LogLines::kAll) {
    return which_ == LogLines::kFailed && hasFailed(kind, outcome);
  }
  return kind != EventKind::kOpened || opened_;
}

void AccessLog::append(EventKind kind, const ConnectionInfo& info, const Outcome& outcome,
                       uint64_t nowMicros, int64_t unixMillis) {
  if (!wants(kind, outcome)) {
    return;
  }
  const bool failed = hasFailed(kind, outcome);
  if (failed && !allows(outcome.reason, nowMicros)) {
    return;
  }
  begin(kind == EventKind::kOpened ? "debug" : failed ? "warn" : "info", unixMillis);
  appendWho(info, lines_);
  if (kind == EventKind::kOpened) {
    lines_ += ",\"msg\":\"connection opened\"}\n";
    return;
  }
  appendCounts(info, nowMicros, lines_);
  appendError(outcome, lines_);
  lines_ += kind == EventKind::kRefused ? ",\"msg\":\"connection failed\"}\n"
                                        : ",\"msg\":\"connection complete\"}\n";
}

void AccessLog::begin(const char* level, int64_t unixMillis) {
  const int64_t second = unixMillis / 1000;
  if (second != second_) {
    second_ = second;
    const std::time_t time = second;
    std::tm parts{};
    gmtime_r(&time, &parts);
    std::array<char, 32> text{};
    const size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S.", &parts);
    time_.assign(text.data(), size);
  }
  const auto millis = static_cast<unsigned>(unixMillis % 1000);
  lines_ += R"({"level":")";
  lines_ += level;
  lines_ += R"(","time":")";
  lines_ += time_;
  lines_ += static_cast<char>('0' + millis / 100);
  lines_ += static_cast<char>('0' + millis / 10 % 10);
  lines_ += static_cast<char>('0' + millis % 10);
  lines_ += 'Z';
  lines_ += frame_;
}

bool AccessLog::allows(Reason reason, uint64_t nowMicros) {
  const auto index = static_cast<size_t>(reason);
  Window& window = windows_[index];
  if (window.lines == 0 || nowMicros - window.beganMicros >= kFailureWindowMs * 1000) {
    endWindow(index);
    window.beganMicros = nowMicros;
  }
  window.lines++;
  return window.lines <= kFailureLinesMax;
}

void AccessLog::endWindow(size_t reason) {
  Window& window = windows_[reason];
  if (window.lines > kFailureLinesMax) {
    leftOut_[reason] += window.lines - kFailureLinesMax;
  }
  window.lines = 0;
}

bool AccessLog::leavesOut() const {
  return std::any_of(windows_.begin(), windows_.end(),
                     [](const Window& window) { return window.lines > kFailureLinesMax; });
}

std::string AccessLog::takeLines() {
  return std::exchange(lines_, {});
}

LeftOut AccessLog::takeLeftOut(uint64_t nowMicros) {
  for (size_t i = 0; i < kReasons; i++) {
    if (nowMicros - windows_[i].beganMicros >= kFailureWindowMs * 1000) {
      endWindow(i);
    }
  }
  return std::exchange(leftOut_, {});
}

}  // namespace weft::proxy
