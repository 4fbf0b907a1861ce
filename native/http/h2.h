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
  kFrameSizeError = 0x6,
  kRefusedStream = 0x7,
  kCancel = 0x8,
  kCompressionError = 0x9,
  kConnectError = 0xa,
  kEnhanceYourCalm = 0xb,
};

/// Who does the framing. Both rows promise the same and pass the same tests.
enum class H2Row {
  kOwn,      ///< Our own framing; HPACK decoding is nghttp2's.
  kNgHttp2,  ///< nghttp2, all of it.
};

/// What a connection allows its peer, and the bounds of its own state. Bytes unless said otherwise.
struct H2Limits {
  /// Where receive windows start, and how far they grow when the peer is held back by them. A
  /// stream's is memory promised to the peer; the connection's is given back on receipt and follows
  /// the sum of its streams.
  uint32_t streamWindowBytes = 64 << 10;
  uint32_t streamWindowBytesMax = 4 << 20;
  uint32_t connectionWindowBytes = 256 << 10;
  uint32_t connectionWindowBytesMax = 64 << 20;
  uint32_t concurrentStreamsMax = 200;  ///< Streams a peer may have open at once.
  uint32_t headerListBytesMax = 16 << 10;
  uint32_t frameBytesMax = 16 << 10;
  /// Frames a peer may make us answer or remember (RST_STREAM, PING, SETTINGS, empty DATA,
  /// CONTINUATION, more WINDOW_UPDATE than our DATA asks for; whatever we refuse) between two calls
  /// of tick(), before it gets ENHANCE_YOUR_CALM.
  uint32_t controlFramesPerTickMax = 1000;
  /// Requests that may come to nothing between two calls of tick(): the owner refused them (another
  /// answer than 2xx, or a reset instead of one), or the peer took them back unanswered. One more
  /// gets ENHANCE_YOUR_CALM. Twice the rate that a policy may refuse for good, 1,000 a second: a
  /// busy thread's ticks come late.
  uint32_t lostRequestsPerTickMax = 2000;
  /// RST_STREAM between two calls of tick() for streams that were answered, or that we reset
  /// ourselves. An honest peer paid a round trip for each; applications do reset connections.
  uint32_t resetsPerTickMax = 10'000;
  uint32_t pingAfterMs = 10'000;  ///< Silence after which we ask whether the peer is there.
  uint32_t deadAfterMs = 20'000;  ///< Silence after which it is not. More than pingAfterMs.
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
/// its other methods, but receive(), produce() and tick().
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
  /// kRefusedStream promises that the peer did nothing with it: it may be tried again elsewhere, if
  /// all that was sent on it is still at hand.
  virtual void onReset(StreamId id, H2Error code) = 0;
  /// A stream that had no send window, or whose reserve() came back empty, may send again.
  virtual void onSendable(StreamId id) = 0;
  /// The peer will take no new streams; those above `lastId` were not processed.
  virtual void onGoaway(StreamId lastId, H2Error code) = 0;
};

/// Where a connection puts its bytes: tls::Session is adapted to it.
class ByteWriter {
 public:
  virtual ~ByteWriter() = default;
  /// Room for at least `min` (<= kReserveBytesMax) bytes behind those committed. Void as soon as
  /// anything else is reserved or written.
  virtual std::span<uint8_t> reserve(size_t min) = 0;
  /// Makes the first `n` bytes of that room part of the output.
  virtual void commit(size_t n) = 0;
  /// Appends a copy of `bytes`.
  void write(std::span<const uint8_t> bytes);

  static constexpr size_t kReserveBytesMax = 4096;
};

/// Who decides how much memory peers may be promised. A receive window is such a promise: the
/// application may not take what comes. Shared by connections; called from their thread.
class WindowBudget {
 public:
  virtual ~WindowBudget() = default;
  /// Asks for `bytes` more. All of them are granted, or none.
  virtual bool take(uint32_t bytes) = 0;
  /// Returns what was taken: each stream gives back all it took when it is forgotten. Payload that
  /// the owner still holds then is on the owner's own account.
  virtual void give(uint32_t bytes) = 0;
};

/// Promises as much as it is asked for.
class UnboundedWindows final : public WindowBudget {
 public:
  bool take(uint32_t) override { return true; }
  void give(uint32_t) override {}
};

/// What a connection talks to. All of it outlives the connection.
struct H2Wiring {
  H2Events& events;
  ByteWriter& out;
  WindowBudget& windows;
};

/// One HTTP/2 connection carrying CONNECT tunnels. Sans-I/O; not thread safe. Frames go to the
/// ByteWriter at the latest when produce() returns, a row may put them there at once.
class H2 {
 public:
  virtual ~H2() = default;

  /// Takes all of `bytes` (plaintext from TLS), which arrived at `nowMicros` of a monotonic clock,
  /// and calls the events. An error is final: every open stream gets its onReset() first, produce()
  /// still yields the GOAWAY that names the error, then the connection must be closed. kLimit for a
  /// peer that asks too much, kInvalid for one that breaks RFC 9113.
  virtual Status receive(std::span<uint8_t> bytes, uint64_t nowMicros) = 0;

  /// Client: opens a stream. kUnavailable when the peer's stream limit is reached or ids ran out,
  /// kLimit when the budget of windows has nothing left.
  virtual Result<StreamId> request(const ConnectRequest& request) = 0;
  /// Server: answers a request. `end` closes our side at once (every status but 200).
  virtual void respond(StreamId id, int status, const std::vector<Header>& headers, bool end) = 0;

  /// Room for payload of the stream: at most what its and the connection's send window allow, at
  /// most `want`, often less; empty when none is left (onSendable follows) or earlier payload still
  /// waits. commit() sends the first `n` bytes of it as DATA. Void, so that only 0 may be
  /// committed, as soon as any other method but a const one was called.
  virtual std::span<uint8_t> reserve(StreamId id, size_t want) = 0;
  virtual void commit(StreamId id, size_t n) = 0;
  /// Our side of the stream ends after what is committed.
  virtual void end(StreamId id) = 0;
  /// Ends both sides at once. No onReset follows; the stream is forgotten.
  virtual void reset(StreamId id, H2Error code) = 0;
  /// The application took `n` bytes of onData(): gives the window back to the peer. The
  /// connection's own window is given back on receipt, so that one stalled stream cannot block the
  /// others.
  virtual void consumed(StreamId id, size_t n) = 0;

  /// Says at once that no new streams are taken; open ones go on.
  virtual void goaway(H2Error code) = 0;
  /// Server: says the same without losing requests that are on their way. First a GOAWAY that
  /// names no last stream, and when the peer must have read it, goaway(kNoError).
  virtual void drain() = 0;
  /// To be called about once a second: renews the budget of H2Limits::controlFramesPerTickMax and
  /// sends PING into silence. kTimeout when the peer is dead; the connection must then be closed.
  virtual Status tick(uint64_t nowMicros) = 0;

  /// Writes the frames that wait, in full. Call after receive() and after any of the above, once
  /// per loop turn.
  virtual void produce() = 0;
  virtual bool wantsProduce() const = 0;

  virtual size_t openStreams() const = 0;
  /// Streams the peer lets us have open (its SETTINGS; 100 before they came).
  virtual uint32_t peerStreamsMax() const = 0;
  /// True once the peer's SETTINGS came, with which its side of the handshake is done.
  virtual bool greeted() const = 0;
  /// False after GOAWAY or drain() in either direction, and when stream ids ran out.
  virtual bool takesStreams() const = 0;
  /// The latest round trip of a PING, 0 before the first.
  virtual uint32_t rttMicros() const = 0;
};

/// Writes the connection preface, or has it wait for produce().
std::unique_ptr<H2> newH2Client(H2Row row, const H2Limits& limits, const H2Wiring& wiring);
std::unique_ptr<H2> newH2Server(H2Row row, const H2Limits& limits, const H2Wiring& wiring);

}  // namespace weft::http
