// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "http/h2_nghttp2.h"

namespace weft::http {
namespace {

nghttp2_nv fieldOf(std::string_view name, std::string_view value) {
  // The library copies both and writes to neither.
  return {const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(name.data())),
          const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(value.data())), name.size(),
          value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

nghttp2_data_provider2 NgHttp2::provider() {
  return {{.ptr = this},
          [](nghttp2_session*, int32_t id, uint8_t*, size_t max, uint32_t* flags,
             nghttp2_data_source*, void* user) { return self(user).onRead(id, max, flags); }};
}

bool NgHttp2::takesStreams() const {
  return failure_.ok() && !draining_ && !goawayAsked_ && !goawayReceived_ &&
         (server_ || nghttp2_session_check_request_allowed(session_) != 0);
}

Result<StreamId> NgHttp2::request(const ConnectRequest& request) {
  CHECK(!server_);
  if (!takesStreams() || streams_.size() >= peerStreamsMax()) {
    return Status(Code::kUnavailable, "HTTP/2: the peer takes no more streams here");
  }
  if (!windows_.take(limits_.streamWindowBytes)) {
    return Status(Code::kLimit, "HTTP/2: no window is left for another stream");
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
    windows_.give(limits_.streamWindowBytes);
    return Status(Code::kUnavailable, std::string("HTTP/2: ") + nghttp2_strerror(id));
  }
  open(id);
  return id;
}

void NgHttp2::respond(StreamId id, int status, const std::vector<Header>& headers, bool end) {
  CHECK(server_ && status >= 200 && status <= 999);
  H2Stream* stream = find(id);
  if (stream == nullptr || stream->answered) {
    return;
  }
  stream->answered = true;
  stream->ending = stream->ending || end;
  if (status / 100 != 2) {
    guard_.onRequestLost();
  }
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
  H2Stream* stream = find(id);
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
  H2Stream* stream = find(id);
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
  H2Stream* stream = find(id);
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
  if (server_ && !stream->second.answered) {
    guard_.onRequestLost();
  }
  forget(stream);
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, static_cast<uint32_t>(code));
}

void NgHttp2::consumed(StreamId id, size_t n) {
  H2Stream* stream = find(id);
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

void NgHttp2::drain() {
  CHECK(server_);
  if (!failure_.ok() || draining_ || goawayAsked_) {
    return;
  }
  draining_ = true;
  nghttp2_submit_shutdown_notice(session_);
  ownGoaways_++;
  ask(kDrainQuestion);
}

Status NgHttp2::tick(uint64_t nowMicros) {
  nowMicros_ = nowMicros;
  guard_.renew();
  if (pulse_.due(nowMicros)) {
    ask(pulse_.ask(nowMicros));
  }
  return pulse_.dead(nowMicros) ? Status(Code::kTimeout, "HTTP/2: the peer answers no PING")
                                : Status();
}

void NgHttp2::ask(uint64_t payload) {
  uint8_t bytes[sizeof payload];
  std::memcpy(bytes, &payload, sizeof payload);
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, bytes);
}

void NgHttp2::onAnswer(const uint8_t* payload) {
  uint64_t answer = 0;
  std::memcpy(&answer, payload, sizeof answer);
  if (draining_ && answer == kDrainQuestion) {
    if (!goawayAsked_) {
      goaway(H2Error::kNoError);
    }
    return;
  }
  pulse_.onAnswer(answer, nowMicros_);
}

nghttp2_ssize NgHttp2::onRead(StreamId id, size_t max, uint32_t* flags) {
  H2Stream* stream = find(id);
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
  H2Stream* stream = find(id);
  if (stream == nullptr) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  out_.write({header, kFrameHeaderBytes});
  out_.write(std::as_const(stream->pending).bytes().first(n));
  stream->pending.consume(n);
  stream->pending.shrink();
  pendingBytes_ -= n;
  guard_.onDataSent();
  sendableChanged_ = true;
  return 0;
}

void NgHttp2::produce() {
  const int sent = nghttp2_session_send(session_);
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
    H2Stream* stream = find(id);
    if (stream == nullptr || !stream->starved || windowOf(id) == 0) {
      continue;
    }
    stream->starved = false;
    lastNotified_ = id;
    events_.onSendable(id);
  }
}

}  // namespace weft::http
