// SPDX-License-Identifier: Apache-2.0
#include "http/h2_pulse.h"

#include <algorithm>

namespace weft::http {
namespace {

constexpr uint64_t kStaleMicros = 100'000;

}  // namespace

bool H2Pulse::due(uint64_t nowMicros) {
  if (heardMicros_ == 0) {
    heardMicros_ = nowMicros;  // silence begins with the connection
  }
  return !asking_ && nowMicros - heardMicros_ >= pingAfterMicros_;
}

bool H2Pulse::stale(uint64_t nowMicros) const {
  return !asking_ && (rttMicros_ == 0 || nowMicros - answeredMicros_ >= kStaleMicros);
}

uint64_t H2Pulse::ask(uint64_t nowMicros) {
  asking_ = true;
  askedMicros_ = nowMicros;
  return ++question_;
}

bool H2Pulse::onAnswer(uint64_t payload, uint64_t nowMicros) {
  if (!asking_ || payload != question_) {
    return false;
  }
  asking_ = false;
  answeredMicros_ = nowMicros;
  rttMicros_ = static_cast<uint32_t>(std::clamp<uint64_t>(nowMicros - askedMicros_, 1, UINT32_MAX));
  return true;
}

bool H2Pulse::dead(uint64_t nowMicros) const {
  return asking_ && nowMicros - heardMicros_ >= deadAfterMicros_ &&
         nowMicros - askedMicros_ >= deadAfterMicros_ - pingAfterMicros_;
}

}  // namespace weft::http
