// SPDX-License-Identifier: Apache-2.0
#include "http/h2_nghttp2.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace weft::http {
namespace {

constexpr size_t kContinuationsMax = 8;
constexpr size_t kSettingsEntriesMax = 32;
constexpr size_t kHpackTableBytesMax = 4096;
/// What RFC 9113 section 6.5.2 adds to each field's size.
constexpr size_t kHeaderOverheadBytes = 32;
/// A header list over its limit costs the stream; over this many times its limit, the connection.
constexpr size_t kHeaderAbuseFactor = 4;
constexpr char kTooManyLost[] = "too many requests that come to nothing";

std::string_view textOf(nghttp2_rcbuf* buffer) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

}  // namespace

NgHttp2::NgHttp2(bool server, const H2Limits& limits, const H2Wiring& wiring)
    : server_(server),
      limits_(limits),
      events_(wiring.events),
      out_(wiring.out),
      windows_(wiring.windows),
      guard_(limits),
      pulse_(limits.pingAfterMs, limits.deadAfterMs) {
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

NgHttp2::~NgHttp2() {
  nghttp2_session_del(session_);
  windows_.give(promisedBytes_);
}

void NgHttp2::setCallbacks(nghttp2_session_callbacks* callbacks) {
  nghttp2_session_callbacks_set_send_callback2(
      callbacks, [](nghttp2_session*, const uint8_t* bytes, size_t n, int, void* user) {
        self(user).inspect({bytes, n});
        self(user).out_.write({bytes, n});
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
        self(user).block_ = H2HeaderBlock();
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
        return self(user).spend(self(user).guard_.spend());
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
  const uint64_t farBehind =
      uint64_t{4} * (limits.controlFramesPerTickMax + limits.resetsPerTickMax);
  nghttp2_option_set_stream_reset_rate_limit(options, farBehind, farBehind);
  nghttp2_option_set_glitch_rate_limit(options, behind, behind);
}

void NgHttp2::submitSettings() {
  const uint32_t frame = std::clamp(limits_.frameBytesMax, kFrameBytesDefault, kFrameBytesLimit);
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
  connectionWindow_ = std::clamp(limits_.connectionWindowBytes, kWindowDefault, kWindowLimit);
  CHECK(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                              static_cast<int32_t>(connectionWindow_)) == 0);
}

H2Stream* NgHttp2::find(StreamId id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : &found->second;
}

std::map<StreamId, H2Stream>::iterator NgHttp2::forget(
    std::map<StreamId, H2Stream>::iterator stream) {
  pendingBytes_ -= stream->second.pending.size();
  promisedBytes_ -= stream->second.window.bytes();
  windows_.give(stream->second.window.bytes());
  sendableChanged_ = true;
  return streams_.erase(stream);
}

Status NgHttp2::receive(std::span<uint8_t> bytes, uint64_t nowMicros) {
  if (!failure_.ok()) {
    return failure_;
  }
  nowMicros_ = nowMicros;
  pulse_.onBytes(nowMicros);
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
    if (n < 0 && failure_.ok()) {
      failure_ =
          Status(Code::kInternal, std::string("HTTP/2: ") + nghttp2_strerror(static_cast<int>(n)));
    }
    if (n <= 0) {
      return;
    }
    inspect({frame, static_cast<size_t>(n)});
    out_.write({frame, static_cast<size_t>(n)});
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

int NgHttp2::spend(bool granted, const char* why) {
  if (granted) {
    return 0;
  }
  if (failure_.ok()) {
    fail(H2Error::kEnhanceYourCalm, Status(Code::kLimit, std::string("HTTP/2: ") + why));
  }
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

int NgHttp2::onBeginFrame(const nghttp2_frame_hd& frame) {
  switch (frame.type) {
    case NGHTTP2_HEADERS:
      // The library passes over what comes after GOAWAY without a word.
      return server_ && goawayAsked_ && find(frame.stream_id) == nullptr ? spend(guard_.spend())
                                                                         : 0;
    case NGHTTP2_WINDOW_UPDATE:
      return spend(guard_.spendUpdate());
    case NGHTTP2_DATA:
      return frame.length > 0 || (frame.flags & NGHTTP2_FLAG_END_STREAM) != 0
                 ? 0
                 : spend(guard_.spend());
    case NGHTTP2_RST_STREAM:
      return spendReset(frame.stream_id);
    default:
      return spend(guard_.spend());
  }
}

int NgHttp2::spendReset(StreamId id) {
  const H2Stream* stream = find(id);
  if (stream != nullptr && !server_) {
    return 0;  // we asked for each of them
  }
  if (stream == nullptr || stream->answered) {
    return spend(guard_.spendReset(), "too many resets");
  }
  guard_.onRequestLost();
  return spend(guard_.mayAsk(), kTooManyLost);
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
      if (const int result = onHeaders(frame); result != 0) {
        return result;
      }
      break;
    case NGHTTP2_SETTINGS:
      greeted_ = true;
      sendableChanged_ = true;
      return 0;
    case NGHTTP2_WINDOW_UPDATE:
      sendableChanged_ = true;
      return 0;
    case NGHTTP2_PING:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        onAnswer(frame.ping.opaque_data);
      }
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
  H2Stream* stream = find(id);
  if (stream != nullptr && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
    stream->ended = true;
    events_.onEnd(id);
  }
  return 0;
}

int NgHttp2::onHeaders(const nghttp2_frame& frame) {
  const StreamId id = frame.hd.stream_id;
  if (frame.headers.cat == NGHTTP2_HCAT_REQUEST) {
    return onRequest(id);
  }
  H2Stream* stream = find(id);
  if (stream == nullptr) {
    return 0;
  }
  if (block_.bytes > limits_.headerListBytesMax) {
    abandon(id, H2Error::kEnhanceYourCalm);
  } else if (server_ || stream->answered) {
    // RFC 9113 section 8.5: nothing but DATA on a connected stream, so no trailers.
    abandon(id, H2Error::kProtocolError);
    return spend(guard_.spend());
  } else if (block_.status >= 200) {
    stream->answered = true;
    const H2HeaderBlock block = std::move(block_);
    events_.onResponse(id, block.status, block.fields.headers);
  }
  return 0;
}

int NgHttp2::onRequest(StreamId id) {
  const bool tooLong = block_.bytes > limits_.headerListBytesMax;
  if (tooLong || !windows_.take(limits_.streamWindowBytes)) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id,
                              tooLong ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_REFUSED_STREAM);
    return spend(guard_.spend());
  }
  open(id);
  // Moved out: the owner may write to the connection from within.
  const H2HeaderBlock block = std::move(block_);
  events_.onRequest(id, block.method, block.fields);
  return spend(guard_.mayAsk(), kTooManyLost);
}

void NgHttp2::onChunk(StreamId id, std::span<uint8_t> data) {
  nghttp2_session_consume_connection(session_, data.size());
  H2Stream* stream = find(id);
  if (stream == nullptr) {
    return;
  }
  stream->unconsumed += data.size();
  if (stream->window.onPayload(static_cast<uint32_t>(data.size()), nowMicros_)) {
    grow(id, *stream);
  }
  events_.onData(id, data);
}

/// The window was granted by windows_.
void NgHttp2::open(StreamId id) {
  H2Stream& stream = streams_[id];
  stream.window = ReceiveWindow(limits_.streamWindowBytes);
  promisedBytes_ += limits_.streamWindowBytes;
  guard_.onStreamOpened();
  growConnection();
}

void NgHttp2::grow(StreamId id, H2Stream& stream) {
  const uint32_t now = stream.window.bytes();
  const uint32_t most = std::min(limits_.streamWindowBytesMax, kWindowLimit);
  if (now >= most) {
    return;
  }
  if (pulse_.stale(nowMicros_)) {
    ask(pulse_.ask(nowMicros_));
  }
  const uint32_t more = std::min(now, most - now);
  if (!stream.window.shouldGrow(pulse_.rttMicros()) || !windows_.take(more)) {
    return;
  }
  stream.window.growBy(more);
  promisedBytes_ += more;
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, id,
                                        static_cast<int32_t>(stream.window.bytes()));
  growConnection();
}

/// The connection's window must not be what holds streams back: it is given back on receipt, so it
/// promises no memory; but up to half of it may be on its way back.
void NgHttp2::growConnection() {
  const uint32_t most = std::min(limits_.connectionWindowBytesMax, kWindowLimit);
  const uint32_t wanted =
      static_cast<uint32_t>(std::min<uint64_t>(uint64_t{2} * promisedBytes_, most));
  if (connectionWindow_ < wanted) {
    connectionWindow_ = std::max(wanted, std::min(connectionWindow_, most / 2) * 2);
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                          static_cast<int32_t>(connectionWindow_));
  }
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

}  // namespace weft::http
