// SPDX-License-Identifier: Apache-2.0
#include "http/h2_own.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace weft::http {
namespace {

constexpr int kContinuationsMax = 8;
constexpr size_t kResetsRememberedMax = 256;
constexpr size_t kPriorityBytes = 5;
constexpr int kSwitchingProtocols = 101;  // not in HTTP/2 (RFC 9113 section 8.6)
constexpr char kTooManyLost[] = "too many requests that come to nothing";
constexpr char kTooManyResets[] = "too many resets";

}  // namespace

struct OwnH2::Held {
  /// What happens to the stream when the block is whole.
  enum class Then { kRequest, kResponse, kIgnore, kRefuse, kAbandon };

  Held(StreamId stream, bool endStream, Then what, H2Error why, size_t bytesMax)
      : id(stream),
        end(endStream),
        then(what),
        code(why),
        block(what == Then::kRequest    ? FieldBlock::Use::kRequest
              : what == Then::kResponse ? FieldBlock::Use::kResponse
                                        : FieldBlock::Use::kIgnored,
              bytesMax) {}

  StreamId id;
  bool end;
  Then then;
  H2Error code;
  int continuations = 0;
  FieldBlock block;
};

OwnH2::OwnH2(bool server, const H2Limits& limits, const H2Wiring& wiring, StreamId firstId)
    : server_(server),
      limits_(limits),
      events_(wiring.events),
      out_(wiring.out),
      windows_(wiring.windows),
      prefaceBytes_(server ? 0 : kPrefaceBytes),
      nextId_(static_cast<uint32_t>(firstId)),
      connectionWindow_(std::clamp(limits.connectionWindowBytes, kWindowDefault, kWindowLimit)),
      guard_(limits),
      pulse_(limits.pingAfterMs, limits.deadAfterMs) {
  receiveWindow_ = static_cast<int32_t>(connectionWindow_);
  sendPreface();
}

OwnH2::~OwnH2() {
  windows_.give(promisedBytes_);
}

void OwnH2::fail(H2Error code, const char* why) {
  if (!failure_.ok()) {
    return;
  }
  sendGoaway(goawaySent_ ? goawayId_ : lastPeerId_, code);
  failure_ = Status(code == H2Error::kEnhanceYourCalm ? Code::kLimit : Code::kInvalid,
                    std::string("HTTP/2: ") + why);
}

bool OwnH2::spend(bool granted, const char* why) {
  if (!granted) {
    fail(H2Error::kEnhanceYourCalm, why);
  }
  return granted;
}

bool OwnH2::isIdle(StreamId id) const {
  const auto next = server_ ? static_cast<uint32_t>(lastPeerId_) + 1 : nextId_;
  return id % 2 == 0 || static_cast<uint32_t>(id) >= next;
}

/// The peer cannot be blamed for what it sent on a stream before it read our RST_STREAM or GOAWAY.
bool OwnH2::mayBeLate(StreamId id) const {
  if (goawaySent_ && id > goawayId_) {
    return true;
  }
  for (const auto* resets : {&resetNow_, &resetBefore_}) {
    if (resets->size() == kResetsRememberedMax ||
        std::find(resets->begin(), resets->end(), id) != resets->end()) {
      return true;
    }
  }
  return false;
}

void OwnH2::forget(StreamId id) {
  const OwnStream* stream = streams_.find(id);
  starved_ -= stream->starved ? 1 : 0;
  promisedBytes_ -= stream->window.bytes();
  windows_.give(stream->window.bytes());
  streams_.erase(id);
}

void OwnH2::cutOff(StreamId id, H2Error code) {
  if (resetNow_.size() < kResetsRememberedMax) {
    resetNow_.push_back(id);
  }
  uint8_t payload[4];
  put32(payload, static_cast<uint32_t>(code));
  sendFrame(FrameType::kRstStream, 0, id, payload);
}

/// Answers what the peer should not have sent on a stream that is not open.
void OwnH2::refuse(StreamId id, H2Error code) {
  if (spend(guard_.spend())) {
    cutOff(id, code);
  }
}

/// Ends an open stream for what the peer did on it, and tells the owner.
void OwnH2::abandon(StreamId id, H2Error code) {
  forget(id);
  refuse(id, code);
  events_.onReset(id, code);
}

/// END_STREAM came.
void OwnH2::finishStream(StreamId id) {
  streams_.find(id)->ended = true;
  events_.onEnd(id);
  forgetIfDone(id);
}

void OwnH2::forgetIfDone(StreamId id) {
  const OwnStream* stream = streams_.find(id);
  if (stream != nullptr && stream->ended && stream->ending && (stream->answered || !server_)) {
    forget(id);
  }
}

void OwnH2::onHeaders(std::span<const uint8_t> payload) {
  size_t padding = 0;
  size_t skipped = 0;
  if (frame_.has(kFlagPadded)) {
    padding = payload.empty() ? 0 : payload[0];
    skipped = 1;
  }
  skipped += frame_.has(kFlagPriority) ? kPriorityBytes : 0;
  if (skipped > payload.size()) {
    fail(H2Error::kFrameSizeError, "HEADERS is too short");
  } else if (padding > payload.size() - skipped) {
    fail(H2Error::kProtocolError, "more padding than payload");
  } else {
    startBlock();
    decodeBlock(payload.subspan(skipped, payload.size() - skipped - padding));
  }
}

void OwnH2::startBlock() {
  using Then = Held::Then;
  const StreamId id = frame_.id;
  const auto hold = [&](Then then, H2Error code = H2Error::kNoError) {
    held_ = std::make_unique<Held>(id, frame_.has(kFlagEndStream), then, code,
                                   limits_.headerListBytesMax);
  };
  const OwnStream* stream = streams_.find(id);
  if (stream != nullptr) {
    if (!server_ && !stream->answered && !stream->ended) {
      hold(Then::kResponse);
    } else {
      // RFC 9113 section 8.5: nothing but DATA on a connected stream, so no trailers.
      hold(Then::kAbandon, stream->ended ? H2Error::kStreamClosed : H2Error::kProtocolError);
    }
  } else if (server_ && id % 2 == 1 && id > lastPeerId_) {
    lastPeerId_ = id;
    if (goawaySent_) {
      hold(Then::kIgnore);
    } else if (streams_.size() >= limits_.concurrentStreamsMax) {
      hold(Then::kRefuse, H2Error::kRefusedStream);
    } else {
      hold(Then::kRequest);
    }
  } else if (!isIdle(id) && (!server_ || mayBeLate(id))) {
    hold(Then::kIgnore);
  } else if (server_ && id == lastPeerId_) {
    fail(H2Error::kStreamClosed, "HEADERS on a closed stream");
  } else {
    fail(H2Error::kProtocolError, "HEADERS on a stream that cannot be");
  }
}

void OwnH2::onContinuation(std::span<const uint8_t> payload) {
  if (frame_.id != held_->id) {
    fail(H2Error::kProtocolError, "CONTINUATION of another stream");
  } else if (++held_->continuations > kContinuationsMax) {
    fail(H2Error::kEnhanceYourCalm, "a header block has too many pieces");
  } else {
    decodeBlock(payload);
  }
}

void OwnH2::decodeBlock(std::span<const uint8_t> piece) {
  if (held_ == nullptr) {
    return;  // startBlock() failed
  }
  if (inflater_ == nullptr) {
    inflater_ = settingsUnacked_ == 0 ? newTablelessInflater() : newInflater();
  }
  const bool last = frame_.has(kFlagEndHeaders);
  switch (held_->block.decode(inflater_.get(), piece, last)) {
    case FieldBlock::Outcome::kUndecodable:
      fail(H2Error::kCompressionError, "a header block cannot be decoded");
      return;
    case FieldBlock::Outcome::kFar:
      fail(H2Error::kEnhanceYourCalm, "a header list is too long");
      return;
    case FieldBlock::Outcome::kOk:
      break;
  }
  if (!last) {
    return;
  }
  if (settingsUnacked_ == 0) {
    // The peer keeps no table any more: each block stands for itself, and idle connections need
    // not hold the decoder's memory.
    inflater_.reset();
  }
  endBlock();
}

void OwnH2::endBlock() {
  const std::unique_ptr<Held> held = std::move(held_);
  switch (held->then) {
    case Held::Then::kRequest:
      return endRequest(*held);
    case Held::Then::kResponse:
      return endResponse(*held);
    case Held::Then::kRefuse:
      return refuse(held->id, held->code);
    case Held::Then::kAbandon:
      return abandon(held->id, held->code);
    case Held::Then::kIgnore:
      // A client asked for each of these; a server's peer has few of them under way.
      spend(!server_ || guard_.spend());
  }
}

void OwnH2::endRequest(const Held& held) {
  const StreamId id = held.id;
  if (held.block.tooLong()) {
    refuse(id, H2Error::kEnhanceYourCalm);
  } else if (held.block.malformed()) {
    refuse(id, H2Error::kProtocolError);
  } else if (!windows_.take(limits_.streamWindowBytes)) {
    refuse(id, H2Error::kRefusedStream);
  } else {
    open(id);
    events_.onRequest(id, held.block.method(), held.block.fields());
    if (spend(guard_.mayAsk(), kTooManyLost) && held.end && streams_.find(id) != nullptr) {
      finishStream(id);
    }
  }
}

void OwnH2::endResponse(const Held& held) {
  const int status = held.block.status();
  const bool interim = status < 200;
  if (held.block.tooLong()) {
    abandon(held.id, H2Error::kEnhanceYourCalm);
  } else if (held.block.malformed() || (interim && held.end) || status == kSwitchingProtocols) {
    abandon(held.id, H2Error::kProtocolError);
  } else if (interim) {
    spend(guard_.spend());
  } else {
    streams_.find(held.id)->answered = true;
    events_.onResponse(held.id, status, held.block.fields().headers);
    if (held.end && streams_.find(held.id) != nullptr) {
      finishStream(held.id);
    }
  }
}

void OwnH2::onRstStream(std::span<const uint8_t> payload) {
  const StreamId id = frame_.id;
  const OwnStream* stream = streams_.find(id);
  if (stream == nullptr && isIdle(id)) {
    fail(H2Error::kProtocolError, "RST_STREAM on an idle stream");
  } else if (spendReset(stream, id) && stream != nullptr) {
    forget(id);
    events_.onReset(id, static_cast<H2Error>(read32(payload.data())));
  }
}

bool OwnH2::spendReset(const OwnStream* stream, StreamId id) {
  if (stream == nullptr) {
    return mayBeLate(id) ? spend(guard_.spendReset(), kTooManyResets) : spend(guard_.spend());
  }
  if (!server_) {
    return true;  // we asked for each of them
  }
  if (stream->answered) {
    return spend(guard_.spendReset(), kTooManyResets);
  }
  guard_.onRequestLost();
  return spend(guard_.mayAsk(), kTooManyLost);
}

void OwnH2::onSettings(std::span<const uint8_t> payload) {
  for (; !payload.empty(); payload = payload.subspan(6)) {
    const auto name = static_cast<uint16_t>(payload[0] << 8 | payload[1]);
    applySetting(static_cast<Setting>(name), read32(payload.data() + 2));
  }
  greeted_ = true;
  sendableChanged_ = true;
  sendFrame(FrameType::kSettings, kFlagAck, 0, {});
}

void OwnH2::applySetting(Setting name, uint32_t value) {
  switch (name) {
    case Setting::kEnablePush:
      if (value > (server_ ? 1 : 0)) {
        fail(H2Error::kProtocolError, "ENABLE_PUSH out of range");
      }
      break;
    case Setting::kMaxConcurrentStreams:
      peerStreamsMax_ = value;
      break;
    case Setting::kInitialWindowSize:
      applyInitialWindow(value);
      break;
    case Setting::kMaxFrameSize:
      // We never send a longer frame than all peers must take.
      if (value < kFrameBytesDefault || value > kFrameBytesLimit) {
        fail(H2Error::kProtocolError, "MAX_FRAME_SIZE out of range");
      }
      break;
    case Setting::kMaxHeaderListSize:
      peerHeaderBytesMax_ = value;
      break;
    default:  // HEADER_TABLE_SIZE as well: we use no table
      break;
  }
}

void OwnH2::applyInitialWindow(uint32_t value) {
  if (value > kWindowLimit) {
    fail(H2Error::kFlowControlError, "INITIAL_WINDOW_SIZE out of range");
    return;
  }
  const int64_t change = int64_t{value} - peerInitialWindow_;
  peerInitialWindow_ = value;
  bool over = false;
  streams_.forEach([&](OwnStream& stream) {
    const int64_t window = stream.sendWindow + change;
    over = over || window > kWindowLimit;
    stream.sendWindow = static_cast<int32_t>(std::min<int64_t>(window, kWindowLimit));
  });
  if (over) {
    fail(H2Error::kFlowControlError, "INITIAL_WINDOW_SIZE makes a window too large");
  }
}

void OwnH2::onSettingsAck() {
  if (settingsUnacked_ == 0) {
    fail(H2Error::kProtocolError, "an acknowledgement of no SETTINGS");
    return;
  }
  settingsUnacked_--;
  inflater_.reset();  // from here on the peer keeps no table
  const auto change =
      static_cast<int32_t>(limits_.streamWindowBytes) - static_cast<int32_t>(initialWindow_);
  initialWindow_ = limits_.streamWindowBytes;
  streams_.forEach([&](OwnStream& stream) { stream.receiveWindow += change; });
}

void OwnH2::onPing(std::span<const uint8_t> payload) {
  uint64_t number = 0;
  std::memcpy(&number, payload.data(), sizeof number);
  if (!frame_.has(kFlagAck)) {
    sendPing(kFlagAck, number);
  } else if (number != kDrainQuestion) {
    pulse_.onAnswer(number, nowMicros_);
  } else if (draining_ && !goawaySent_) {
    goaway(H2Error::kNoError);
  }
}

void OwnH2::onGoaway(std::span<const uint8_t> payload) {
  const auto lastId = static_cast<StreamId>(read32(payload.data()) & kWindowLimit);
  if (lastId > peerGoawayId_) {
    fail(H2Error::kProtocolError, "GOAWAY takes back an earlier one");
    return;
  }
  peerGoawayId_ = lastId;
  goawayReceived_ = true;
  events_.onGoaway(lastId, static_cast<H2Error>(read32(payload.data() + 4)));
  if (server_) {
    return;
  }
  for (const StreamId id : streams_.ids()) {
    if (id > lastId && streams_.find(id) != nullptr) {
      forget(id);
      events_.onReset(id, H2Error::kRefusedStream);
    }
  }
}

void OwnH2::onWindowUpdate(std::span<const uint8_t> payload) {
  if (!spend(guard_.spendUpdate())) {
    return;
  }
  const uint32_t more = read32(payload.data()) & kWindowLimit;
  const StreamId id = frame_.id;
  OwnStream* stream = id == 0 ? nullptr : streams_.find(id);
  if (id != 0 && stream == nullptr) {
    if (isIdle(id)) {
      fail(H2Error::kProtocolError, "WINDOW_UPDATE on an idle stream");
    }
    return;
  }
  int32_t& window = stream == nullptr ? sendWindow_ : stream->sendWindow;
  const bool over = int64_t{window} + more > kWindowLimit;
  if (more > 0 && !over) {
    window += static_cast<int32_t>(more);
    sendableChanged_ = true;
    return;
  }
  const H2Error code = over ? H2Error::kFlowControlError : H2Error::kProtocolError;
  if (stream != nullptr) {
    abandon(id, code);
  } else {
    fail(code, "WINDOW_UPDATE out of range");
  }
}

}  // namespace weft::http
