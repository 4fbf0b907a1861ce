// SPDX-License-Identifier: Apache-2.0
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <map>

#include "base/buffer.h"
#include "base/check.h"
#include "http/h2.h"

namespace weft::http {
namespace {

/// One DATA frame's payload: with its header it fills one TLS record exactly.
constexpr size_t kPayloadBytesMax = (16 << 10) - 9;
constexpr size_t kFrameHeaderBytes = 9;
constexpr uint32_t kFrameBytesMin = 16 << 10;
constexpr uint32_t kFrameBytesMax = (1 << 24) - 1;
constexpr size_t kContinuationsMax = 8;
constexpr size_t kSettingsEntriesMax = 32;
constexpr size_t kHpackTableBytesMax = 4096;
/// What RFC 9113 section 6.5.2 adds to each field's size.
constexpr size_t kHeaderOverheadBytes = 32;
/// A header list over its limit costs the stream; over this many times its limit, the connection.
constexpr size_t kHeaderAbuseFactor = 4;

struct Stream {
  Buffer pending;         // committed, not framed yet; at most kPayloadBytesMax
  size_t unconsumed = 0;  // given by onData(), not yet answered by consumed()
  bool answered = false;  // server: respond() was called; client: the final response came
  bool ending = false;    // end() was called
  bool ended = false;     // END_STREAM was received
  bool starved = false;   // reserve() came back empty: onSendable() is owed
};

/// The header block under way. Blocks of two streams never mix (RFC 9113 section 4.3).
struct HeaderBlock {
  std::string method;
  int status = 0;
  ConnectRequest fields;
  size_t bytes = 0;
};

class NgHttp2 final : public H2 {
 public:
  NgHttp2(bool server, const H2Limits& limits, H2Events& events);
  ~NgHttp2() override { nghttp2_session_del(session_); }

  Status receive(std::span<uint8_t> bytes) override;
  Result<StreamId> request(const ConnectRequest& request) override;
  void respond(StreamId id, int status, const std::vector<Header>& headers, bool end) override;
  std::span<uint8_t> reserve(StreamId id, size_t want) override;
  void commit(StreamId id, size_t n) override;
  void end(StreamId id) override;
  void reset(StreamId id, H2Error code) override;
  void consumed(StreamId id, size_t n) override;
  void goaway(H2Error code) override;
  void ping() override { nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr); }
  void tick() override { controlFrames_ = 0; }
  void produce(ByteWriter& out) override;
  bool wantsProduce() const override {
    return !early_.empty() || nghttp2_session_want_write(session_) != 0;
  }
  size_t openStreams() const override { return streams_.size(); }
  uint32_t peerStreamsMax() const override {
    return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  }
  bool takesStreams() const override;

 private:
  static NgHttp2& self(void* user) { return *static_cast<NgHttp2*>(user); }
  static void setCallbacks(nghttp2_session_callbacks* callbacks);
  static void setOptions(nghttp2_option* options, const H2Limits& limits);
  void submitSettings();

  int onBeginFrame(const nghttp2_frame_hd& frame);
  int onHeader(std::string_view name, std::string_view value);
  void onHeaders(const nghttp2_frame& frame);
  int onFrame(const nghttp2_frame& frame);
  void onChunk(StreamId id, std::span<uint8_t> data);
  void onClosed(StreamId id, uint32_t code);
  nghttp2_ssize onRead(StreamId id, size_t max, uint32_t* flags);
  int onSendData(StreamId id, const uint8_t* header, size_t n);

  int countControlFrame();
  void abandon(StreamId id, H2Error code);
  void fail(H2Error code, Status why);
  void drainControl();
  void inspect(std::span<const uint8_t> frame);
  void notifySendable();
  size_t windowOf(StreamId id) const;
  void put(std::span<const uint8_t> bytes);
  Stream* find(StreamId id);
  std::map<StreamId, Stream>::iterator forget(std::map<StreamId, Stream>::iterator stream);
  nghttp2_data_provider2 provider();

  const bool server_;
  const H2Limits limits_;
  H2Events& events_;
  nghttp2_session* session_ = nullptr;
  std::map<StreamId, Stream> streams_;
  HeaderBlock block_;
  ByteWriter* out_ = nullptr;
  Buffer early_;             // control frames framed by receive(), for the next produce()
  size_t pendingBytes_ = 0;  // over all streams
  uint32_t controlFrames_ = 0;
  uint32_t ownGoaways_ = 0;  // asked for and not framed yet
  StreamId lastNotified_ = 0;
  bool goawayAsked_ = false;
  bool goawayReceived_ = false;
  bool sendableChanged_ = false;
  Status failure_;
};

nghttp2_nv fieldOf(std::string_view name, std::string_view value) {
  // The library copies both and writes to neither.
  return {const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(name.data())),
          const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(value.data())), name.size(),
          value.size(), NGHTTP2_NV_FLAG_NONE};
}

std::string_view textOf(nghttp2_rcbuf* buffer) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

uint32_t read32(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) << 24 | static_cast<uint32_t>(at[1]) << 16 |
         static_cast<uint32_t>(at[2]) << 8 | at[3];
}

NgHttp2::NgHttp2(bool server, const H2Limits& limits, H2Events& events)
    : server_(server), limits_(limits), events_(events) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* options = nullptr;
  CHECK(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&options) == 0);
  setCallbacks(callbacks);
  setOptions(options, limits);
  const int made = server ? nghttp2_session_server_new2(&session_, callbacks, this, options)
                          : nghttp2_session_client_new2(&session_, callbacks, this, options);
  nghttp2_option_del(options);
  nghttp2_session_callbacks_del(callbacks);
  CHECK(made == 0);
  submitSettings();
}

void NgHttp2::setCallbacks(nghttp2_session_callbacks* callbacks) {
  nghttp2_session_callbacks_set_send_callback2(
      callbacks, [](nghttp2_session*, const uint8_t* bytes, size_t n, int, void* user) {
        self(user).inspect({bytes, n});
        self(user).put({bytes, n});
        return static_cast<nghttp2_ssize>(n);
      });
  nghttp2_session_callbacks_set_send_data_callback(
      callbacks, [](nghttp2_session*, nghttp2_frame* frame, const uint8_t* header, size_t n,
                    nghttp2_data_source*,
                    void* user) { return self(user).onSendData(frame->hd.stream_id, header, n); });
  nghttp2_session_callbacks_set_on_begin_frame_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame_hd* frame, void* user) {
        return self(user).onBeginFrame(*frame);
      });
  nghttp2_session_callbacks_set_on_begin_headers_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame*, void* user) {
        self(user).block_ = HeaderBlock();
        return 0;
      });
  nghttp2_session_callbacks_set_on_header_callback2(
      callbacks,
      [](nghttp2_session*, const nghttp2_frame*, nghttp2_rcbuf* name, nghttp2_rcbuf* value, uint8_t,
         void* user) { return self(user).onHeader(textOf(name), textOf(value)); });
  nghttp2_session_callbacks_set_on_invalid_header_callback2(
      callbacks,
      [](nghttp2_session*, const nghttp2_frame*, nghttp2_rcbuf*, nghttp2_rcbuf*, uint8_t,
         void*) -> int { return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; });
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame*, int, void* user) {
        return self(user).countControlFrame();
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        return self(user).onFrame(*frame);
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks,
      [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t n, void* user) {
        // Points into the span given to receive(), which is writable.
        self(user).onChunk(id, {const_cast<uint8_t*>(data), n});
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](nghttp2_session*, int32_t id, uint32_t code, void* user) {
        self(user).onClosed(id, code);
        return 0;
      });
}

void NgHttp2::setOptions(nghttp2_option* options, const H2Limits& limits) {
  nghttp2_option_set_no_auto_window_update(options, 1);
  nghttp2_option_set_no_closed_streams(options, 1);
  nghttp2_option_set_max_outbound_ack(options, limits.controlFramesPerTickMax);
  nghttp2_option_set_max_settings(options, kSettingsEntriesMax);
  nghttp2_option_set_max_continuations(options, kContinuationsMax);
  nghttp2_option_set_max_deflate_dynamic_table_size(options, kHpackTableBytesMax);
  // The library's own rates, by its own clock, stand behind our budget: alone they would cut a
  // busy, honest peer, whose applications may well reset 33 connections a second. They are all
  // there is against frames of unknown types, which no callback sees.
  const uint64_t behind = uint64_t{4} * limits.controlFramesPerTickMax;
  nghttp2_option_set_stream_reset_rate_limit(options, behind, behind);
  nghttp2_option_set_glitch_rate_limit(options, behind, behind);
}

void NgHttp2::submitSettings() {
  const uint32_t frame = std::clamp(limits_.frameBytesMax, kFrameBytesMin, kFrameBytesMax);
  const uint32_t concurrent = server_ ? limits_.concurrentStreamsMax : 0;
  const nghttp2_settings_entry entries[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, concurrent},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits_.streamWindowBytes},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, frame},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits_.headerListBytesMax},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  // A server has no business with ENABLE_PUSH, the last one.
  const size_t count = std::size(entries) - (server_ ? 1 : 0);
  CHECK(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries, count) == 0);
  CHECK(nghttp2_session_set_local_window_size(
            session_, NGHTTP2_FLAG_NONE, 0, static_cast<int32_t>(limits_.connectionWindowBytes)) ==
        0);
}

Stream* NgHttp2::find(StreamId id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : &found->second;
}

std::map<StreamId, Stream>::iterator NgHttp2::forget(std::map<StreamId, Stream>::iterator stream) {
  pendingBytes_ -= stream->second.pending.size();
  sendableChanged_ = true;
  return streams_.erase(stream);
}

// ---- receiving

Status NgHttp2::receive(std::span<uint8_t> bytes) {
  if (!failure_.ok()) {
    return failure_;
  }
  const nghttp2_ssize taken = nghttp2_session_mem_recv2(session_, bytes.data(), bytes.size());
  if (taken < 0 && failure_.ok()) {
    const bool flooded = taken == NGHTTP2_ERR_FLOODED || taken == NGHTTP2_ERR_TOO_MANY_SETTINGS ||
                         taken == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
    const char* why = nghttp2_strerror(static_cast<int>(taken));
    fail(flooded ? H2Error::kEnhanceYourCalm : H2Error::kProtocolError,
         Status(flooded ? Code::kLimit : Code::kInvalid, std::string("HTTP/2: ") + why));
  }
  drainControl();
  if (!failure_.ok()) {
    while (!streams_.empty()) {
      const StreamId id = streams_.begin()->first;
      forget(streams_.begin());
      events_.onReset(id, H2Error::kInternalError);
    }
    return failure_;
  }
  notifySendable();
  return {};
}

void NgHttp2::fail(H2Error code, Status why) {
  failure_ = std::move(why);
  nghttp2_session_terminate_session(session_, static_cast<uint32_t>(code));
}

// The library does not say that it gave a connection up; it only queues the GOAWAY for it. So the
// frames that wait, other than DATA, are framed here, and that one is looked for.
void NgHttp2::drainControl() {
  while (nghttp2_session_get_outbound_queue_size(session_) > 0) {
    const uint8_t* frame = nullptr;
    const nghttp2_ssize n = nghttp2_session_mem_send2(session_, &frame);
    if (n <= 0) {
      return;
    }
    inspect({frame, static_cast<size_t>(n)});
    early_.append({frame, static_cast<size_t>(n)});
  }
}

void NgHttp2::inspect(std::span<const uint8_t> frame) {
  if (frame.size() < kFrameHeaderBytes + 8 || frame[3] != NGHTTP2_GOAWAY) {
    return;
  }
  if (ownGoaways_ > 0) {
    ownGoaways_--;
    return;
  }
  const uint32_t code = read32(frame.data() + kFrameHeaderBytes + 4);
  const std::span<const uint8_t> reason = frame.subspan(kFrameHeaderBytes + 8);
  if (failure_.ok()) {
    failure_ = Status(code == NGHTTP2_ENHANCE_YOUR_CALM ? Code::kLimit : Code::kInvalid,
                      "HTTP/2: " + std::string(nghttp2_http2_strerror(code)) + " " +
                          std::string(reinterpret_cast<const char*>(reason.data()), reason.size()));
  }
}

int NgHttp2::countControlFrame() {
  if (++controlFrames_ <= limits_.controlFramesPerTickMax) {
    return 0;
  }
  if (failure_.ok()) {
    fail(H2Error::kEnhanceYourCalm, Status(Code::kLimit, "HTTP/2: too many control frames"));
  }
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

int NgHttp2::onBeginFrame(const nghttp2_frame_hd& frame) {
  switch (frame.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_WINDOW_UPDATE:
      return 0;
    case NGHTTP2_DATA:
      return frame.length > 0 || (frame.flags & NGHTTP2_FLAG_END_STREAM) != 0 ? 0
                                                                              : countControlFrame();
    default:
      return countControlFrame();
  }
}

int NgHttp2::onHeader(std::string_view name, std::string_view value) {
  block_.bytes += name.size() + value.size() + kHeaderOverheadBytes;
  if (block_.bytes > limits_.headerListBytesMax) {
    if (block_.bytes <= kHeaderAbuseFactor * limits_.headerListBytesMax) {
      return 0;
    }
    fail(H2Error::kEnhanceYourCalm, Status(Code::kLimit, "HTTP/2: a header list is too long"));
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  if (name == ":method") {
    block_.method = value;
  } else if (name == ":authority") {
    block_.fields.authority = value;
  } else if (name == ":status") {
    block_.status = 0;
    for (const char c : value) {  // the library let three digits through
      block_.status = block_.status * 10 + (c - '0');
    }
  } else if (!name.starts_with(':')) {
    block_.fields.headers.push_back({std::string(name), std::string(value)});
  }
  return 0;
}

int NgHttp2::onFrame(const nghttp2_frame& frame) {
  const StreamId id = frame.hd.stream_id;
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      onHeaders(frame);
      break;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_WINDOW_UPDATE:
      sendableChanged_ = true;
      return 0;
    case NGHTTP2_GOAWAY:
      goawayReceived_ = true;
      events_.onGoaway(frame.goaway.last_stream_id, static_cast<H2Error>(frame.goaway.error_code));
      return 0;
    case NGHTTP2_DATA:
      break;
    default:
      return 0;
  }
  Stream* stream = find(id);
  if (stream != nullptr && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
    stream->ended = true;
    events_.onEnd(id);
  }
  return 0;
}

void NgHttp2::onHeaders(const nghttp2_frame& frame) {
  const StreamId id = frame.hd.stream_id;
  const bool request = frame.headers.cat == NGHTTP2_HCAT_REQUEST;
  const bool tooLong = block_.bytes > limits_.headerListBytesMax;
  if (request) {
    if (tooLong) {
      nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    streams_.try_emplace(id);
    // Moved out: the owner may write to the connection from within.
    const HeaderBlock block = std::move(block_);
    events_.onRequest(id, block.method, block.fields);
    return;
  }
  Stream* stream = find(id);
  if (stream == nullptr) {
    return;
  }
  if (tooLong) {
    abandon(id, H2Error::kEnhanceYourCalm);
    return;
  }
  if (server_ || stream->answered) {
    // RFC 9113 section 8.5: nothing but DATA on a connected stream, so no trailers.
    abandon(id, H2Error::kProtocolError);
    return;
  }
  if (block_.status >= 200) {
    stream->answered = true;
    const HeaderBlock block = std::move(block_);
    events_.onResponse(id, block.status, block.fields.headers);
  }
}

void NgHttp2::onChunk(StreamId id, std::span<uint8_t> data) {
  nghttp2_session_consume_connection(session_, data.size());
  Stream* stream = find(id);
  if (stream == nullptr) {
    return;
  }
  stream->unconsumed += data.size();
  events_.onData(id, data);
}

void NgHttp2::onClosed(StreamId id, uint32_t code) {
  const auto stream = streams_.find(id);
  if (stream == streams_.end()) {
    return;
  }
  const bool clean = code == NGHTTP2_NO_ERROR && stream->second.ended && stream->second.ending &&
                     stream->second.pending.empty();
  forget(stream);
  if (!clean) {
    events_.onReset(id, static_cast<H2Error>(code));
  }
}

// Ends a stream on our own account, and tells the owner.
void NgHttp2::abandon(StreamId id, H2Error code) {
  reset(id, code);
  events_.onReset(id, code);
}

// ---- sending

nghttp2_data_provider2 NgHttp2::provider() {
  return {{.ptr = this},
          [](nghttp2_session*, int32_t id, uint8_t*, size_t max, uint32_t* flags,
             nghttp2_data_source*, void* user) { return self(user).onRead(id, max, flags); }};
}

bool NgHttp2::takesStreams() const {
  return failure_.ok() && !goawayAsked_ && !goawayReceived_ &&
         (server_ || nghttp2_session_check_request_allowed(session_) != 0);
}

Result<StreamId> NgHttp2::request(const ConnectRequest& request) {
  CHECK(!server_);
  if (!takesStreams() || streams_.size() >= peerStreamsMax()) {
    return Status(Code::kUnavailable, "HTTP/2: the peer takes no more streams here");
  }
  std::vector<nghttp2_nv> fields = {fieldOf(":method", "CONNECT"),
                                    fieldOf(":authority", request.authority)};
  for (const Header& header : request.headers) {
    fields.push_back(fieldOf(header.name, header.value));
  }
  const nghttp2_data_provider2 data = provider();
  const StreamId id =
      nghttp2_submit_request2(session_, nullptr, fields.data(), fields.size(), &data, nullptr);
  if (id < 0) {
    return Status(Code::kUnavailable, std::string("HTTP/2: ") + nghttp2_strerror(id));
  }
  streams_.try_emplace(id);
  return id;
}

void NgHttp2::respond(StreamId id, int status, const std::vector<Header>& headers, bool end) {
  CHECK(server_ && status >= 200 && status <= 999);
  Stream* stream = find(id);
  if (stream == nullptr || stream->answered) {
    return;
  }
  stream->answered = true;
  stream->ending = stream->ending || end;
  const std::string code = std::to_string(status);
  std::vector<nghttp2_nv> fields = {fieldOf(":status", code)};
  for (const Header& header : headers) {
    fields.push_back(fieldOf(header.name, header.value));
  }
  const nghttp2_data_provider2 data = provider();
  nghttp2_submit_response2(session_, id, fields.data(), fields.size(), end ? nullptr : &data);
}

// What the stream may still send, beyond all that waits to be framed.
size_t NgHttp2::windowOf(StreamId id) const {
  int64_t stream = nghttp2_session_get_stream_remote_window_size(session_, id);
  if (stream < 0) {  // a request that is not on the wire yet
    stream = static_cast<int64_t>(
        nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE));
  }
  const int64_t connection = int64_t{nghttp2_session_get_remote_window_size(session_)} -
                             static_cast<int64_t>(pendingBytes_);
  return static_cast<size_t>(std::max(int64_t{0}, std::min(stream, connection)));
}

std::span<uint8_t> NgHttp2::reserve(StreamId id, size_t want) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->ending || want == 0 || !failure_.ok()) {
    return {};
  }
  const size_t n =
      stream->pending.empty() ? std::min({want, windowOf(id), kPayloadBytesMax}) : size_t{0};
  if (n == 0) {
    stream->starved = true;
    return {};
  }
  return stream->pending.room(n).first(n);
}

void NgHttp2::commit(StreamId id, size_t n) {
  Stream* stream = find(id);
  if (stream == nullptr || n == 0) {
    return;
  }
  CHECK(stream->pending.empty() && n <= kPayloadBytesMax);
  stream->pending.commit(n);
  pendingBytes_ += n;
  // Refused as long as the stream is not deferred; then it is read in its turn anyway.
  nghttp2_session_resume_data(session_, id);
}

void NgHttp2::end(StreamId id) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->ending) {
    return;
  }
  stream->ending = true;
  nghttp2_session_resume_data(session_, id);
}

void NgHttp2::reset(StreamId id, H2Error code) {
  const auto stream = streams_.find(id);
  if (stream == streams_.end()) {
    return;
  }
  forget(stream);
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, static_cast<uint32_t>(code));
}

void NgHttp2::consumed(StreamId id, size_t n) {
  Stream* stream = find(id);
  if (stream == nullptr) {
    return;
  }
  CHECK(n <= stream->unconsumed);
  stream->unconsumed -= n;
  if (!stream->ended) {
    nghttp2_session_consume_stream(session_, id, n);
  }
}

void NgHttp2::goaway(H2Error code) {
  if (!failure_.ok()) {
    return;
  }
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_),
                        static_cast<uint32_t>(code), nullptr, 0);
  ownGoaways_++;
  goawayAsked_ = true;
}

nghttp2_ssize NgHttp2::onRead(StreamId id, size_t max, uint32_t* flags) {
  Stream* stream = find(id);
  if (stream == nullptr) {
    return NGHTTP2_ERR_DEFERRED;  // reset() was called: its RST_STREAM goes first
  }
  const size_t n = std::min(max, stream->pending.size());
  if (stream->ending && n == stream->pending.size()) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
  } else if (n == 0) {
    return NGHTTP2_ERR_DEFERRED;
  }
  if (n > 0) {
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  }
  return static_cast<nghttp2_ssize>(n);
}

int NgHttp2::onSendData(StreamId id, const uint8_t* header, size_t n) {
  Stream* stream = find(id);
  if (stream == nullptr) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  put({header, kFrameHeaderBytes});
  put(std::as_const(stream->pending).bytes().first(n));
  stream->pending.consume(n);
  stream->pending.shrink();
  pendingBytes_ -= n;
  sendableChanged_ = true;
  return 0;
}

void NgHttp2::put(std::span<const uint8_t> bytes) {
  if (out_ != nullptr) {
    out_->write(bytes);
  } else {
    early_.append(bytes);
  }
}

void NgHttp2::produce(ByteWriter& out) {
  if (!early_.empty()) {
    out.write(std::as_const(early_).bytes());
    early_.consume(early_.size());
    early_.shrink();
  }
  out_ = &out;
  const int sent = nghttp2_session_send(session_);
  out_ = nullptr;
  if (sent != 0 && failure_.ok()) {
    failure_ = Status(Code::kInternal, std::string("HTTP/2: ") + nghttp2_strerror(sent));
  }
  notifySendable();
}

// Outside of the library's callbacks, so that the owner may do as it likes. Begins behind the
// stream served last: a scarce connection window goes round.
void NgHttp2::notifySendable() {
  if (!sendableChanged_) {
    return;
  }
  sendableChanged_ = false;
  std::vector<StreamId> owed;
  for (const auto& [id, stream] : streams_) {
    if (stream.starved && !stream.ending && stream.pending.empty()) {
      owed.push_back(id);
    }
  }
  const auto first = std::upper_bound(owed.begin(), owed.end(), lastNotified_);
  std::rotate(owed.begin(), first, owed.end());
  for (const StreamId id : owed) {
    Stream* stream = find(id);
    if (stream == nullptr || !stream->starved || windowOf(id) == 0) {
      continue;
    }
    stream->starved = false;
    lastNotified_ = id;
    events_.onSendable(id);
  }
}

}  // namespace

std::unique_ptr<H2> newH2Client(const H2Limits& limits, H2Events& events) {
  return std::make_unique<NgHttp2>(false, limits, events);
}

std::unique_ptr<H2> newH2Server(const H2Limits& limits, H2Events& events) {
  return std::make_unique<NgHttp2>(true, limits, events);
}

}  // namespace weft::http
