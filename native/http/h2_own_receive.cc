// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "http/h2_own.h"

namespace weft::http {
namespace {

constexpr size_t kSettingBytes = 6;
constexpr size_t kSettingsMax = 32;
constexpr size_t kPriorityBytes = 5;
constexpr size_t kPingBytes = 8;
constexpr size_t kGoawayBytes = 8;
constexpr size_t kNumberBytes = 4;  // of RST_STREAM and WINDOW_UPDATE

}  // namespace

Status OwnH2::receive(std::span<uint8_t> bytes, uint64_t nowMicros) {
  if (!failure_.ok()) {
    return failure_;
  }
  nowMicros_ = nowMicros;
  pulse_.onBytes(nowMicros);
  while (!bytes.empty() && failure_.ok()) {
    const size_t taken = prefaceBytes_ < kPrefaceBytes ? takePreface(bytes)
                         : use_ == Payload::kNone      ? takeHeader(bytes)
                                                       : takePayload(bytes);
    bytes = bytes.subspan(taken);
  }
  if (failure_.ok()) {
    notifySendable();
    return {};
  }
  for (const StreamId id : streams_.ids()) {
    if (streams_.find(id) != nullptr) {
      forget(id);
      events_.onReset(id, H2Error::kInternalError);
    }
  }
  return failure_;
}

size_t OwnH2::takePreface(std::span<const uint8_t> bytes) {
  const size_t n = std::min(bytes.size(), kPrefaceBytes - prefaceBytes_);
  if (std::memcmp(bytes.data(), kPreface + prefaceBytes_, n) != 0) {
    fail(H2Error::kProtocolError, "the connection preface is wrong");
  }
  prefaceBytes_ = static_cast<uint8_t>(prefaceBytes_ + n);
  return n;
}

size_t OwnH2::takeHeader(std::span<const uint8_t> bytes) {
  if (headBytes_ == 0 && bytes.size() >= kFrameHeaderBytes) {
    frame_ = parseFrameHeader(bytes.data());
    beginFrame();
    return kFrameHeaderBytes;
  }
  const size_t n = std::min(bytes.size(), kFrameHeaderBytes - headBytes_);
  std::copy_n(bytes.begin(), n, head_.begin() + headBytes_);
  headBytes_ = static_cast<uint8_t>(headBytes_ + n);
  if (headBytes_ == kFrameHeaderBytes) {
    headBytes_ = 0;
    frame_ = parseFrameHeader(head_.data());
    beginFrame();
  }
  return n;
}

void OwnH2::beginFrame() {
  left_ = frame_.length;
  padding_ = 0;
  if (!frameAllowed()) {
    return;
  }
  use_ = payloadUse();
  if (left_ > 0 || !failure_.ok()) {
    return;
  }
  const Payload use = std::exchange(use_, Payload::kNone);
  if (use == Payload::kData) {
    finishData();
  } else if (use == Payload::kCollect) {
    finishFrame({});
  }
}

/// What holds for frames of every type.
bool OwnH2::frameAllowed() {
  const bool settings = frame_.type == static_cast<uint8_t>(FrameType::kSettings);
  const bool continuation = frame_.type == static_cast<uint8_t>(FrameType::kContinuation);
  if (!greeted_ && (!settings || frame_.has(kFlagAck))) {
    fail(H2Error::kProtocolError, "the first frame is not SETTINGS");
  } else if (frame_.length > std::max(limits_.frameBytesMax, kFrameBytesDefault)) {
    fail(H2Error::kFrameSizeError, "a frame is too long");
  } else if (continuation != (held_ != nullptr)) {
    fail(H2Error::kProtocolError,
         continuation ? "CONTINUATION without HEADERS" : "a header block was interrupted");
  }
  return failure_.ok();
}

OwnH2::Payload OwnH2::payloadUse() {
  const auto expect = [this](bool sized, bool onStream) {
    if ((frame_.id != 0) != onStream) {
      fail(H2Error::kProtocolError, "a frame stands on the wrong stream");
    } else if (!sized) {
      fail(H2Error::kFrameSizeError, "a frame has the wrong length");
    }
    return failure_.ok() ? Payload::kCollect : Payload::kNone;
  };
  const size_t n = frame_.length;
  switch (static_cast<FrameType>(frame_.type)) {
    case FrameType::kData:
      return beginData();
    case FrameType::kHeaders:
      return expect(true, true);
    case FrameType::kRstStream:
      return expect(n == kNumberBytes, true);
    case FrameType::kWindowUpdate:
      return expect(n == kNumberBytes, frame_.id != 0);
    case FrameType::kPushPromise:
      fail(H2Error::kProtocolError, "PUSH_PROMISE, which nobody allowed");
      return Payload::kNone;
    default:
      break;
  }
  // The rest is answered, remembered or useless.
  if (!spend(guard_.spend())) {
    return Payload::kNone;
  }
  switch (static_cast<FrameType>(frame_.type)) {
    case FrameType::kContinuation:
      return expect(true, true);
    case FrameType::kPriority:
      expect(n == kPriorityBytes, true);
      return Payload::kSkip;
    case FrameType::kSettings:
      if (n > kSettingsMax * kSettingBytes) {
        fail(H2Error::kEnhanceYourCalm, "too many settings");
        return Payload::kNone;
      }
      return expect(n % kSettingBytes == 0 && (n == 0 || !frame_.has(kFlagAck)), false);
    case FrameType::kPing:
      return expect(n == kPingBytes, false);
    case FrameType::kGoaway:
      return expect(n >= kGoawayBytes, false);
    default:
      return Payload::kSkip;
  }
}

size_t OwnH2::takePayload(std::span<uint8_t> bytes) {
  if (use_ == Payload::kData || use_ == Payload::kPadLength) {
    return takeData(bytes);
  }
  const size_t n = std::min<size_t>(bytes.size(), left_);
  const bool whole = n == left_ && partial_.empty();
  if (use_ == Payload::kCollect && !whole) {
    partial_.room(left_);
    partial_.append(bytes.first(n));
  }
  left_ -= static_cast<uint32_t>(n);
  if (left_ > 0) {
    return n;
  }
  if (std::exchange(use_, Payload::kNone) == Payload::kCollect) {
    finishFrame(whole ? bytes.first(n) : partial_.bytes());
    partial_.consume(partial_.size());
    partial_.shrink();
  }
  return n;
}

void OwnH2::finishFrame(std::span<const uint8_t> payload) {
  switch (static_cast<FrameType>(frame_.type)) {
    case FrameType::kHeaders:
      return onHeaders(payload);
    case FrameType::kContinuation:
      return onContinuation(payload);
    case FrameType::kRstStream:
      return onRstStream(payload);
    case FrameType::kSettings:
      return frame_.has(kFlagAck) ? onSettingsAck() : onSettings(payload);
    case FrameType::kPing:
      return onPing(payload);
    case FrameType::kGoaway:
      return onGoaway(payload);
    default:
      return onWindowUpdate(payload);
  }
}

/// The windows count a frame as a whole, padding included, before any of it is looked at.
OwnH2::Payload OwnH2::beginData() {
  const auto n = static_cast<int32_t>(frame_.length);
  const bool empty = n == 0 && !frame_.has(kFlagEndStream);
  if (frame_.id == 0) {
    fail(H2Error::kProtocolError, "DATA on no stream");
  } else if (n == 0 && frame_.has(kFlagPadded)) {
    fail(H2Error::kFrameSizeError, "DATA without its padding");
  } else if (n > receiveWindow_) {
    fail(H2Error::kFlowControlError, "DATA beyond the connection's window");
  } else if (!empty || spend(guard_.spend())) {
    receiveWindow_ -= n;
    unreturned_ += frame_.length;
    if (unreturned_ >= connectionWindow_ / 2) {
      receiveWindow_ += static_cast<int32_t>(unreturned_);
      sendWindow(0, std::exchange(unreturned_, 0));
    }
    return beginStreamData();
  }
  return Payload::kNone;
}

OwnH2::Payload OwnH2::beginStreamData() {
  const StreamId id = frame_.id;
  const auto n = static_cast<int32_t>(frame_.length);
  OwnStream* stream = streams_.find(id);
  if (stream == nullptr) {
    if (isIdle(id)) {
      fail(H2Error::kProtocolError, "DATA on an idle stream");
    } else if (!mayBeLate(id)) {
      refuse(id, H2Error::kStreamClosed);
    }
    return Payload::kSkip;
  }
  if (stream->ended) {
    abandon(id, H2Error::kStreamClosed);
  } else if (!server_ && !stream->answered) {
    abandon(id, H2Error::kProtocolError);
  } else if (n > stream->receiveWindow) {
    abandon(id, H2Error::kFlowControlError);
  } else {
    stream->receiveWindow -= n;
    if (stream->window.onPayload(frame_.length, nowMicros_)) {
      grow(*stream);
    }
    return frame_.has(kFlagPadded) ? Payload::kPadLength : Payload::kData;
  }
  return Payload::kSkip;
}

size_t OwnH2::takeData(std::span<uint8_t> bytes) {
  size_t n = 1;
  if (use_ == Payload::kPadLength) {
    use_ = Payload::kData;
    padding_ = bytes[0];
    left_--;
    if (padding_ > left_) {
      fail(H2Error::kProtocolError, "more padding than payload");
      return n;
    }
    if (padding_ == left_ && !frame_.has(kFlagEndStream) && !spend(guard_.spend())) {
      return n;
    }
  } else if (left_ > padding_) {
    n = std::min<size_t>(bytes.size(), left_ - padding_);
    left_ -= static_cast<uint32_t>(n);
    if (OwnStream* stream = streams_.find(frame_.id)) {
      stream->unconsumed += static_cast<uint32_t>(n);
      events_.onData(frame_.id, bytes.first(n));
    }
  } else {
    n = std::min<size_t>(bytes.size(), left_);
    left_ -= static_cast<uint32_t>(n);
  }
  if (left_ == 0) {
    use_ = Payload::kNone;
    finishData();
  }
  return n;
}

void OwnH2::finishData() {
  OwnStream* stream = streams_.find(frame_.id);
  if (stream == nullptr) {
    return;  // reset from within an event
  }
  if (frame_.has(kFlagEndStream)) {
    finishStream(frame_.id);
  } else if (frame_.has(kFlagPadded)) {
    giveBack(*stream, padding_ + 1);
  }
}

}  // namespace weft::http
