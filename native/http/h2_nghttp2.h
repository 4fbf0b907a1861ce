// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"
#include "http/h2.h"
#include "http/h2_frames.h"
#include "http/h2_guard.h"
#include "http/h2_pulse.h"
#include "http/h2_window.h"

namespace weft::http {

/// What the connection knows of one open stream.
struct H2Stream {
  Buffer pending;  // committed, not framed yet; at most kPayloadBytesMax
  ReceiveWindow window;
  size_t unconsumed = 0;  // given by onData(), not yet answered by consumed()
  bool answered = false;  // server: respond() was called; client: the final response came
  bool ending = false;    // end() was called
  bool ended = false;     // END_STREAM was received
  bool starved = false;   // reserve() came back empty: onSendable() is owed
};

/// The header block under way. Blocks of two streams never mix (RFC 9113 section 4.3).
struct H2HeaderBlock {
  std::string method;
  int status = 0;
  ConnectRequest fields;
  size_t bytes = 0;
};

/// The library row of H2: nghttp2 does framing, HPACK, flow control and the checks of RFC 9113. The
/// events reach the owner from within the library's callbacks, where it allows everything but to
/// receive and to send; onSendable() alone comes from outside of them. Setting up and receiving
/// stand in h2_nghttp2.cc, sending in h2_nghttp2_send.cc.
class NgHttp2 final : public H2 {
 public:
  NgHttp2(bool server, const H2Limits& limits, const H2Wiring& wiring);
  NgHttp2(const NgHttp2&) = delete;
  NgHttp2& operator=(const NgHttp2&) = delete;
  ~NgHttp2() override;

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
  void produce() override;
  bool wantsProduce() const override { return nghttp2_session_want_write(session_) != 0; }
  size_t openStreams() const override { return streams_.size(); }
  uint32_t peerStreamsMax() const override {
    return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  }
  bool greeted() const override { return greeted_; }
  bool takesStreams() const override;
  uint32_t rttMicros() const override { return pulse_.rttMicros(); }

 private:
  static NgHttp2& self(void* user) { return *static_cast<NgHttp2*>(user); }
  static void setCallbacks(nghttp2_session_callbacks* callbacks);
  static void setOptions(nghttp2_option* options, const H2Limits& limits);
  void submitSettings();

  int onBeginFrame(const nghttp2_frame_hd& frame);
  int onHeader(std::string_view name, std::string_view value);
  int onHeaders(const nghttp2_frame& frame);
  int onRequest(StreamId id);
  int onFrame(const nghttp2_frame& frame);
  void onChunk(StreamId id, std::span<uint8_t> data);
  void onClosed(StreamId id, uint32_t code);
  nghttp2_ssize onRead(StreamId id, size_t max, uint32_t* flags);
  int onSendData(StreamId id, const uint8_t* header, size_t n);

  void open(StreamId id);
  void grow(StreamId id, H2Stream& stream);
  void growConnection();
  int spend(bool granted, const char* why = "too many control frames");
  int spendReset(StreamId id);
  void ask(uint64_t payload);
  void onAnswer(const uint8_t* payload);
  void abandon(StreamId id, H2Error code);
  void fail(H2Error code, Status why);
  void drainControl();
  void inspect(std::span<const uint8_t> frame);
  void notifySendable();
  size_t windowOf(StreamId id) const;
  H2Stream* find(StreamId id);
  std::map<StreamId, H2Stream>::iterator forget(std::map<StreamId, H2Stream>::iterator stream);
  nghttp2_data_provider2 provider();

  const bool server_;
  const H2Limits limits_;
  H2Events& events_;
  ByteWriter& out_;
  WindowBudget& windows_;
  H2Guard guard_;
  H2Pulse pulse_;
  nghttp2_session* session_ = nullptr;
  std::map<StreamId, H2Stream> streams_;
  H2HeaderBlock block_;
  size_t pendingBytes_ = 0;     // over all streams
  uint32_t promisedBytes_ = 0;  // taken from windows_
  uint32_t connectionWindow_ = 0;
  uint32_t ownGoaways_ = 0;  // asked for and not framed yet
  StreamId lastNotified_ = 0;
  uint64_t nowMicros_ = 0;
  bool greeted_ = false;
  bool draining_ = false;
  bool goawayAsked_ = false;
  bool goawayReceived_ = false;
  bool sendableChanged_ = false;
  Status failure_;
};

}  // namespace weft::http
