// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"
#include "http/h2.h"
#include "http/h2_fields.h"
#include "http/h2_frames.h"
#include "http/h2_guard.h"
#include "http/h2_pulse.h"
#include "http/h2_streams.h"

namespace weft::http {

/// Our own framing; HPACK decoding is nghttp2's. Payload is never copied: it is delivered where it
/// was decrypted, and read from the application into its place in the TLS record. Frames are
/// written when they arise; nothing waits, so produce() has next to nothing to do. An idle
/// connection holds this object and its streams only. Taking frames apart stands in
/// h2_own_receive.cc, what they mean in h2_own.cc, what we send in h2_own_send.cc.
class OwnH2 final : public H2 {
 public:
  /// `firstId`: a client's first stream id.
  OwnH2(bool server, const H2Limits& limits, const H2Wiring& wiring, StreamId firstId = 1);
  OwnH2(const OwnH2&) = delete;
  OwnH2& operator=(const OwnH2&) = delete;
  ~OwnH2() override;

  Status receive(std::span<uint8_t> bytes, uint64_t nowMicros) override;
  Result<StreamId> request(const ConnectRequest& request) override;
  void respond(StreamId id, int status, const std::vector<Header>& headers, bool end) override;
  std::span<uint8_t> reserve(StreamId id, size_t want) override;
  void commit(StreamId id, size_t n) override;
  void end(StreamId id) override;
  void reset(StreamId id, H2Error code) override;
  void consumed(StreamId id, size_t n) override;
  void goaway(H2Error code) override;
  void drain() override;
  Status tick(uint64_t nowMicros) override;
  void produce() override { notifySendable(); }
  bool wantsProduce() const override { return sendableChanged_ && starved_ > 0; }
  size_t openStreams() const override { return streams_.size(); }
  uint32_t peerStreamsMax() const override { return peerStreamsMax_; }
  bool greeted() const override { return greeted_; }
  bool takesStreams() const override;
  uint32_t rttMicros() const override { return pulse_.rttMicros(); }

 private:
  /// What is done with the payload of the frame under way.
  enum class Payload : uint8_t { kNone, kSkip, kCollect, kPadLength, kData };
  struct Held;  // a header block under way

  // h2_own_receive.cc: each takes bytes off the front and says how many.
  size_t takePreface(std::span<const uint8_t> bytes);
  size_t takeHeader(std::span<const uint8_t> bytes);
  size_t takePayload(std::span<uint8_t> bytes);
  size_t takeData(std::span<uint8_t> bytes);
  void beginFrame();
  bool frameAllowed();
  Payload payloadUse();
  void finishFrame(std::span<const uint8_t> payload);
  Payload beginData();
  Payload beginStreamData();
  void finishData();

  // h2_own.cc
  void onHeaders(std::span<const uint8_t> payload);
  void onContinuation(std::span<const uint8_t> payload);
  void startBlock();
  void decodeBlock(std::span<const uint8_t> piece);
  void endBlock();
  void endRequest(const Held& held);
  void endResponse(const Held& held);
  void onRstStream(std::span<const uint8_t> payload);
  void onSettings(std::span<const uint8_t> payload);
  void applySetting(Setting name, uint32_t value);
  void applyInitialWindow(uint32_t value);
  void onSettingsAck();
  void onPing(std::span<const uint8_t> payload);
  void onGoaway(std::span<const uint8_t> payload);
  void onWindowUpdate(std::span<const uint8_t> payload);
  void finishStream(StreamId id);

  bool isIdle(StreamId id) const;
  bool mayBeLate(StreamId id) const;
  void refuse(StreamId id, H2Error code);
  void abandon(StreamId id, H2Error code);
  void cutOff(StreamId id, H2Error code);
  void forget(StreamId id);
  void forgetIfDone(StreamId id);
  bool spend(bool granted, const char* why = "too many control frames");
  bool spendReset(const OwnStream* stream, StreamId id);
  void fail(H2Error code, const char* why);

  // h2_own_send.cc
  void sendPreface();
  void sendFrame(FrameType type, uint8_t flags, StreamId id, std::span<const uint8_t> payload);
  void sendHeaders(StreamId id, std::span<const uint8_t> block, bool end);
  void sendPing(uint8_t flags, uint64_t number);
  void sendGoaway(StreamId lastId, H2Error code);
  void sendWindow(StreamId id, uint32_t bytes);
  OwnStream& open(StreamId id);
  void giveBack(OwnStream& stream, uint32_t bytes);
  void grow(OwnStream& stream);
  void growConnection();
  size_t windowOf(const OwnStream& stream) const;
  void notifySendable();

  const bool server_;
  const H2Limits limits_;
  H2Events& events_;
  ByteWriter& out_;
  WindowBudget& windows_;
  Status failure_;

  // Receiving.
  FrameHeader frame_;  // the one under way
  std::array<uint8_t, kFrameHeaderBytes> head_;
  uint8_t headBytes_ = 0;
  uint8_t prefaceBytes_ = 0;  // seen
  Payload use_ = Payload::kNone;
  uint8_t settingsUnacked_ = 1;
  bool greeted_ = false;
  bool goawayReceived_ = false;
  bool goawaySent_ = false;
  bool draining_ = false;
  bool tableSaid_ = false;  // our first header block was sent
  bool sendableChanged_ = false;
  uint32_t left_ = 0;  // of the payload, padding included
  uint32_t padding_ = 0;
  Buffer partial_;  // a payload that came in pieces
  Inflater inflater_;
  std::unique_ptr<Held> held_;

  // Streams.
  StreamTable streams_;
  uint32_t nextId_;          // client
  StreamId lastPeerId_ = 0;  // server
  StreamId goawayId_ = 0;    // the last stream we said we process
  StreamId peerGoawayId_ = kStreamIdMax;
  StreamId lastNotified_ = 0;
  uint32_t starved_ = 0;
  std::vector<StreamId> resetNow_;  // by us, since the last tick; the peer may not know yet
  std::vector<StreamId> resetBefore_;

  // Flow control.
  int32_t sendWindow_ = kWindowDefault;
  uint32_t peerInitialWindow_ = kWindowDefault;
  uint32_t peerStreamsMax_ = 100;
  uint32_t peerHeaderBytesMax_ = UINT32_MAX;
  int32_t receiveWindow_;
  uint32_t unreturned_ = 0;                  // received, not yet given back
  uint32_t connectionWindow_;                // what the peer may have under way
  uint32_t initialWindow_ = kWindowDefault;  // of the peer's new streams
  uint32_t promisedBytes_ = 0;               // taken from windows_
  std::span<uint8_t> reserved_;              // the payload's place, behind its frame header
  StreamId reservedId_ = 0;

  uint64_t nowMicros_ = 0;
  H2Guard guard_;
  H2Pulse pulse_;
};

}  // namespace weft::http
