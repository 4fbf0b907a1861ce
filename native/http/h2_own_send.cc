// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "http/h2_own.h"

namespace weft::http {

void OwnH2::sendPreface() {
  struct Entry {
    Setting name;
    uint32_t value;
  };
  const Entry entries[] = {
      {Setting::kHeaderTableSize, 0},
      {Setting::kMaxConcurrentStreams, server_ ? limits_.concurrentStreamsMax : 0},
      {Setting::kInitialWindowSize, limits_.streamWindowBytes},
      {Setting::kMaxFrameSize,
       std::clamp(limits_.frameBytesMax, kFrameBytesDefault, kFrameBytesLimit)},
      {Setting::kMaxHeaderListSize, limits_.headerListBytesMax},
      {Setting::kEnablePush, 0},
  };
  if (!server_) {
    out_.write({reinterpret_cast<const uint8_t*>(kPreface), kPrefaceBytes});
  }
  uint8_t payload[6 * std::size(entries)];
  // A server has no business with ENABLE_PUSH, the last one.
  const size_t count = std::size(entries) - (server_ ? 1 : 0);
  for (size_t i = 0; i < count; i++) {
    put16(payload + 6 * i, static_cast<uint16_t>(entries[i].name));
    put32(payload + 6 * i + 2, entries[i].value);
  }
  sendFrame(FrameType::kSettings, 0, 0, {payload, 6 * count});
  if (connectionWindow_ > kWindowDefault) {
    sendWindow(0, connectionWindow_ - kWindowDefault);
  }
}

void OwnH2::sendFrame(FrameType type, uint8_t flags, StreamId id,
                      std::span<const uint8_t> payload) {
  if (!failure_.ok()) {
    return;  // the GOAWAY was the last frame
  }
  reserved_ = {};
  const size_t n = payload.size();
  const size_t inPlace = n <= ByteWriter::kReserveBytesMax - kFrameHeaderBytes ? n : 0;
  uint8_t* at = out_.reserve(kFrameHeaderBytes + inPlace).data();
  putFrameHeader(at, type, flags, id, n);
  std::copy_n(payload.begin(), inPlace, at + kFrameHeaderBytes);
  out_.commit(kFrameHeaderBytes + inPlace);
  out_.write(payload.subspan(inPlace));
}

void OwnH2::sendHeaders(StreamId id, std::span<const uint8_t> block, bool end) {
  tableSaid_ = true;
  FrameType type = FrameType::kHeaders;
  uint8_t flags = end ? kFlagEndStream : uint8_t{0};
  while (block.size() > kPayloadBytesMax) {
    sendFrame(type, flags, id, block.first(kPayloadBytesMax));
    block = block.subspan(kPayloadBytesMax);
    type = FrameType::kContinuation;
    flags = 0;
  }
  sendFrame(type, flags | kFlagEndHeaders, id, block);
}

void OwnH2::sendPing(uint8_t flags, uint64_t number) {
  uint8_t payload[sizeof number];
  std::memcpy(payload, &number, sizeof number);
  sendFrame(FrameType::kPing, flags, 0, payload);
}

void OwnH2::sendGoaway(StreamId lastId, H2Error code) {
  uint8_t payload[8];
  put32(payload, static_cast<uint32_t>(lastId));
  put32(payload + 4, static_cast<uint32_t>(code));
  sendFrame(FrameType::kGoaway, 0, 0, payload);
}

void OwnH2::sendWindow(StreamId id, uint32_t bytes) {
  uint8_t payload[4];
  put32(payload, bytes);
  sendFrame(FrameType::kWindowUpdate, 0, id, payload);
}

bool OwnH2::takesStreams() const {
  return failure_.ok() && !draining_ && !goawaySent_ && !goawayReceived_ &&
         (server_ || nextId_ <= static_cast<uint32_t>(kStreamIdMax));
}

/// The window was granted by windows_.
OwnStream& OwnH2::open(StreamId id) {
  OwnStream& stream = streams_.insert(id);
  stream.sendWindow = static_cast<int32_t>(peerInitialWindow_);
  stream.receiveWindow = static_cast<int32_t>(initialWindow_);
  stream.window = ReceiveWindow(limits_.streamWindowBytes);
  promisedBytes_ += limits_.streamWindowBytes;
  guard_.onStreamOpened();
  growConnection();
  return stream;
}

Result<StreamId> OwnH2::request(const ConnectRequest& request) {
  CHECK(!server_);
  if (!takesStreams() || streams_.size() >= peerStreamsMax_) {
    return Status(Code::kUnavailable, "HTTP/2: the peer takes no more streams here");
  }
  if (listBytesOf(request) > peerHeaderBytesMax_) {
    return Status(Code::kLimit, "HTTP/2: the request is too long for the peer");
  }
  if (!windows_.take(limits_.streamWindowBytes)) {
    return Status(Code::kLimit, "HTTP/2: no window is left for another stream");
  }
  const auto id = static_cast<StreamId>(nextId_);
  nextId_ += 2;
  open(id);
  sendHeaders(id, encodeRequest(request, !tableSaid_), false);
  return id;
}

void OwnH2::respond(StreamId id, int status, const std::vector<Header>& headers, bool end) {
  CHECK(server_ && status >= 200 && status <= 999);
  OwnStream* stream = streams_.find(id);
  if (stream == nullptr || stream->answered) {
    return;
  }
  stream->answered = true;
  stream->ending = stream->ending || end;
  if (status / 100 != 2) {
    guard_.onRequestLost();
  }
  sendableChanged_ = true;
  sendHeaders(id, encodeResponse(status, headers, !tableSaid_), stream->ending);
  forgetIfDone(id);
}

size_t OwnH2::windowOf(const OwnStream& stream) const {
  if (server_ && !stream.answered) {
    return 0;  // nothing may go before the answer
  }
  return static_cast<size_t>(std::max(0, std::min(stream.sendWindow, sendWindow_)));
}

std::span<uint8_t> OwnH2::reserve(StreamId id, size_t want) {
  OwnStream* stream = streams_.find(id);
  if (stream == nullptr || stream->ending || want == 0 || !failure_.ok()) {
    return {};
  }
  const size_t n = std::min({want, windowOf(*stream), kPayloadBytesMax});
  if (n == 0) {
    starved_ += stream->starved ? 0 : 1;
    stream->starved = true;
    return {};
  }
  constexpr size_t kWantedMax = ByteWriter::kReserveBytesMax - kFrameHeaderBytes;
  const std::span<uint8_t> room = out_.reserve(kFrameHeaderBytes + std::min(n, kWantedMax));
  const std::span<uint8_t> payload = room.subspan(kFrameHeaderBytes);
  reservedId_ = id;
  reserved_ = payload.first(std::min(n, payload.size()));
  return reserved_;
}

void OwnH2::commit(StreamId id, size_t n) {
  OwnStream* stream = streams_.find(id);
  const std::span<uint8_t> payload = std::exchange(reserved_, {});
  if (stream == nullptr || n == 0) {
    return;
  }
  CHECK(reservedId_ == id && n <= payload.size());
  putFrameHeader(payload.data() - kFrameHeaderBytes, FrameType::kData, 0, id, n);
  out_.commit(kFrameHeaderBytes + n);
  stream->sendWindow -= static_cast<int32_t>(n);
  sendWindow_ -= static_cast<int32_t>(n);
  guard_.onDataSent();
}

void OwnH2::end(StreamId id) {
  OwnStream* stream = streams_.find(id);
  if (stream == nullptr || stream->ending) {
    return;
  }
  stream->ending = true;
  if (stream->answered || !server_) {
    sendFrame(FrameType::kData, kFlagEndStream, id, {});
    forgetIfDone(id);
  }
}

void OwnH2::reset(StreamId id, H2Error code) {
  const OwnStream* stream = streams_.find(id);
  if (stream == nullptr) {
    return;
  }
  if (server_ && !stream->answered) {
    guard_.onRequestLost();
  }
  forget(id);
  cutOff(id, code);
}

void OwnH2::consumed(StreamId id, size_t n) {
  OwnStream* stream = streams_.find(id);
  if (stream == nullptr) {
    return;
  }
  CHECK(n <= stream->unconsumed);
  stream->unconsumed -= static_cast<uint32_t>(n);
  giveBack(*stream, static_cast<uint32_t>(n));
}

/// In grains of half a window: the peer never waits for one, and few frames are spent on it.
void OwnH2::giveBack(OwnStream& stream, uint32_t bytes) {
  stream.unreturned += bytes;
  if (stream.ended || stream.unreturned == 0 || stream.unreturned < stream.window.bytes() / 2) {
    return;
  }
  stream.receiveWindow += static_cast<int32_t>(stream.unreturned);
  sendWindow(stream.id, std::exchange(stream.unreturned, 0));
}

void OwnH2::grow(OwnStream& stream) {
  const uint32_t now = stream.window.bytes();
  const uint32_t most = std::min(limits_.streamWindowBytesMax, kWindowLimit);
  if (now >= most) {
    return;
  }
  if (pulse_.stale(nowMicros_)) {
    sendPing(0, pulse_.ask(nowMicros_));
  }
  const uint32_t more = std::min(now, most - now);
  if (!stream.window.shouldGrow(pulse_.rttMicros()) || !windows_.take(more)) {
    return;
  }
  stream.window.growBy(more);
  promisedBytes_ += more;
  const uint32_t given = more + std::exchange(stream.unreturned, 0);
  stream.receiveWindow += static_cast<int32_t>(given);
  sendWindow(stream.id, given);
  growConnection();
}

/// The connection's window must not be what holds streams back: it is given back on receipt, so it
/// promises no memory; but up to half of it may be on its way back.
void OwnH2::growConnection() {
  const uint32_t most = std::min(limits_.connectionWindowBytesMax, kWindowLimit);
  const uint32_t wanted =
      static_cast<uint32_t>(std::min<uint64_t>(uint64_t{2} * promisedBytes_, most));
  if (connectionWindow_ >= wanted) {
    return;
  }
  const uint32_t more =
      std::max(wanted, std::min(connectionWindow_, most / 2) * 2) - connectionWindow_;
  connectionWindow_ += more;
  receiveWindow_ += static_cast<int32_t>(more);
  sendWindow(0, more);
}

void OwnH2::goaway(H2Error code) {
  if (!std::exchange(goawaySent_, true)) {
    goawayId_ = lastPeerId_;
  }
  sendGoaway(goawayId_, code);
}

void OwnH2::drain() {
  CHECK(server_);
  if (draining_ || goawaySent_) {
    return;
  }
  draining_ = true;
  sendGoaway(kStreamIdMax, H2Error::kNoError);
  sendPing(0, kDrainQuestion);
}

Status OwnH2::tick(uint64_t nowMicros) {
  nowMicros_ = nowMicros;
  guard_.renew();
  resetBefore_ = std::exchange(resetNow_, {});
  if (pulse_.due(nowMicros)) {
    sendPing(0, pulse_.ask(nowMicros));
  }
  return pulse_.dead(nowMicros) ? Status(Code::kTimeout, "HTTP/2: the peer answers no PING")
                                : Status();
}

/// Begins behind the stream served last: a scarce connection window goes round.
void OwnH2::notifySendable() {
  if (!std::exchange(sendableChanged_, false) || starved_ == 0) {
    return;
  }
  std::vector<StreamId> owed;
  streams_.forEach([&](const OwnStream& stream) {
    if (stream.starved && !stream.ending) {
      owed.push_back(stream.id);
    }
  });
  std::sort(owed.begin(), owed.end());
  const auto first = std::upper_bound(owed.begin(), owed.end(), lastNotified_);
  std::rotate(owed.begin(), first, owed.end());
  for (const StreamId id : owed) {
    OwnStream* stream = streams_.find(id);
    if (stream == nullptr || !stream->starved || windowOf(*stream) == 0) {
      continue;
    }
    stream->starved = false;
    starved_--;
    lastNotified_ = id;
    events_.onSendable(id);
  }
}

}  // namespace weft::http
