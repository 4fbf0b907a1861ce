// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace weft::http {

using StreamId = int32_t;

/// Error codes of RFC 9113 section 7.
enum class H2Error : uint32_t {
  kNoError = 0x0,
  kProtocolError = 0x1,
  kInternalError = 0x2,
  kFlowControlError = 0x3,
  kStreamClosed = 0x5,
  kRefusedStream = 0x7,
  kCancel = 0x8,
  kConnectError = 0xa,
  kEnhanceYourCalm = 0xb,
};

/// What a connection allows its peer, and the bounds of its own state. Bytes unless said otherwise.
struct H2Limits {
  uint32_t streamWindowBytes = 256 << 10;
  uint32_t connectionWindowBytes = 16 << 20;
  uint32_t concurrentStreamsMax = 200;  ///< Streams a peer may have open at once.
  uint32_t headerListBytesMax = 16 << 10;
  uint32_t frameBytesMax = 16 << 10;
  /// Frames a peer may make us answer or remember (RST_STREAM, PING, SETTINGS, empty DATA,
  /// CONTINUATION) between two calls of tick(), before it gets ENHANCE_YOUR_CALM.
  uint32_t controlFramesPerTickMax = 1000;
};

/// A field of a request or response, in lower case.
struct Header {
  std::string name;
  std::string value;
};

/// A CONNECT request (RFC 9113 section 8.5): no :scheme, no :path, no :protocol.
struct ConnectRequest {
  std::string authority;
  std::vector<Header> headers;  ///< baggage, forwarded, traceparent; no pseudo headers.
};

/// What the connection reports to its owner. None of these may destroy the connection; all may call
/// its other methods, but receive() and produce().
class H2Events {
 public:
  virtual ~H2Events() = default;
  /// Server: a whole request. `method` is as sent, so that the owner can refuse what is not
  /// CONNECT.
  virtual void onRequest(StreamId id, std::string_view method, const ConnectRequest& request) = 0;
  /// Client: the response's status. 200 opens the stream.
  virtual void onResponse(StreamId id, int status, const std::vector<Header>& headers) = 0;
  /// Payload. Stays valid, and in place, until receive() returns. The owner answers with consumed()
  /// once the application took it; until then it counts against the stream's window.
  virtual void onData(StreamId id, std::span<uint8_t> data) = 0;
  /// END_STREAM: no more data will come.
  virtual void onEnd(StreamId id) = 0;
  /// The stream ended by RST_STREAM (either side's), by GOAWAY or by an error; it is forgotten.
  virtual void onReset(StreamId id, H2Error code) = 0;
  /// A stream that had no send window, or whose reserve() came back empty, may send again.
  virtual void onSendable(StreamId id) = 0;
  /// The peer will take no new streams; those above `lastId` were not processed.
  virtual void onGoaway(StreamId lastId, H2Error code) = 0;
};

/// Where produce() puts its bytes. tls::Session is adapted to it.
class ByteWriter {
 public:
  virtual ~ByteWriter() = default;
  virtual void write(std::span<const uint8_t> bytes) = 0;
};

/// One HTTP/2 connection carrying CONNECT tunnels. Sans-I/O; not thread safe. The library row is
/// nghttp2 (framing and HPACK); a row with framing of our own stands beside it behind this face.
class H2 {
 public:
  virtual ~H2() = default;

  /// Takes all of `bytes` (plaintext from TLS) and calls the events. An error is final: every open
  /// stream gets its onReset() first, produce() still yields the GOAWAY that names the error, then
  /// the connection must be closed. kLimit for a peer that asks too much, kInvalid for one that
  /// breaks RFC 9113.
  virtual Status receive(std::span<uint8_t> bytes) = 0;

  /// Client: opens a stream. kUnavailable when the peer's stream limit is reached or ids ran out.
  virtual Result<StreamId> request(const ConnectRequest& request) = 0;
  /// Server: answers a request. `end` closes our side at once (every status but 200).
  virtual void respond(StreamId id, int status, const std::vector<Header>& headers, bool end) = 0;

  /// Room for payload of the stream: at most what its and the connection's send window allow, at
  /// most `want`; empty when none is left (onSendable follows) or earlier payload still waits.
  /// commit() queues the first `n` bytes of it as DATA. Only one stream may hold room at a time.
  virtual std::span<uint8_t> reserve(StreamId id, size_t want) = 0;
  virtual void commit(StreamId id, size_t n) = 0;
  /// Our side of the stream ends after what is queued.
  virtual void end(StreamId id) = 0;
  /// Ends both sides at once. No onReset follows; the stream is forgotten.
  virtual void reset(StreamId id, H2Error code) = 0;
  /// The application took `n` bytes of onData(): gives the window back to the peer. The
  /// connection's own window is given back on receipt, so that one stalled stream cannot block the
  /// others.
  virtual void consumed(StreamId id, size_t n) = 0;

  /// Says that no new streams are taken (a server's drain); open ones go on.
  virtual void goaway(H2Error code) = 0;
  virtual void ping() = 0;
  /// To be called about once a second: renews the budget of H2Limits::controlFramesPerTickMax.
  virtual void tick() = 0;

  /// Writes the frames that wait, in full. Call after receive() and after any of the above, once
  /// per loop turn.
  virtual void produce(ByteWriter& out) = 0;
  virtual bool wantsProduce() const = 0;

  virtual size_t openStreams() const = 0;
  /// Streams the peer lets us have open (its SETTINGS; 100 before they came).
  virtual uint32_t peerStreamsMax() const = 0;
  /// False after GOAWAY in either direction, and when stream ids ran out.
  virtual bool takesStreams() const = 0;
};

/// The library rows. `events` outlives the connection.
std::unique_ptr<H2> newH2Client(const H2Limits& limits, H2Events& events);
std::unique_ptr<H2> newH2Server(const H2Limits& limits, H2Events& events);

}  // namespace weft::http
