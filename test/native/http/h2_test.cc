// SPDX-License-Identifier: Apache-2.0
// Long, since its cases share one pair of connections and their scripts.
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "base/buffer.h"
#include "http/h2.h"

#include <doctest/doctest.h>
// clang-format on

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>

using weft::Buffer;
using weft::Code;
using weft::Status;
using weft::http::ConnectRequest;
using weft::http::H2;
using weft::http::H2Error;
using weft::http::H2Limits;
using weft::http::H2Row;
using weft::http::Header;
using weft::http::StreamId;

namespace {

// The rows at the two ends of the case that runs.
H2Row clientRow = H2Row::kOwn;
H2Row serverRow = H2Row::kOwn;

void runWith(H2Row client, H2Row server, void (*test)()) {
  clientRow = client;
  serverRow = server;
  test();
}

// A case that is run with each row, at each end.
#define H2_TEST(title) H2_TEST_NAMED(title, DOCTEST_ANONYMOUS(h2Test))
#define H2_TEST_NAMED(title, test)                   \
  static void test();                                \
  TEST_CASE("own framing: " title) {                 \
    runWith(H2Row::kOwn, H2Row::kOwn, test);         \
  }                                                  \
  TEST_CASE("nghttp2: " title) {                     \
    runWith(H2Row::kNgHttp2, H2Row::kNgHttp2, test); \
  }                                                  \
  TEST_CASE("own framing asks nghttp2: " title) {    \
    runWith(H2Row::kOwn, H2Row::kNgHttp2, test);     \
  }                                                  \
  TEST_CASE("nghttp2 asks own framing: " title) {    \
    runWith(H2Row::kNgHttp2, H2Row::kOwn, test);     \
  }                                                  \
  static void test()

using Bytes = std::vector<uint8_t>;

constexpr size_t kPreface = 24;

Bytes pattern(size_t n) {
  Bytes bytes(n);
  for (size_t i = 0; i < n; i++) {
    bytes[i] = static_cast<uint8_t>(i * 31 + i / 256);
  }
  return bytes;
}

// What happened to one stream, and what is still to be sent on it.
struct Record {
  std::string method;
  ConnectRequest request;
  int status = 0;
  std::vector<Header> headers;
  Bytes data;
  size_t taken = 0;  // of it, by the application
  int ends = 0;
  std::vector<H2Error> resets;
  int sendable = 0;
  Bytes toSend;
  size_t sent = 0;
  bool endAfter = false;
};

struct End final : weft::http::H2Events, weft::http::ByteWriter {
  weft::http::UnboundedWindows windows;
  std::unique_ptr<H2> h2;
  uint64_t nowMicros = 1'000'000;
  std::map<StreamId, Record> streams;
  std::vector<std::pair<StreamId, H2Error>> goaways;
  Bytes out;  // with room behind what is written
  size_t written = 0;
  Status status;
  bool takes = true;                       // answers onData() with consumed()
  std::function<void(StreamId)> onOpen;    // at a request
  std::function<void(StreamId)> onBytes;   // at data
  std::function<void(StreamId)> onFinish;  // at END_STREAM

  void onRequest(StreamId id, std::string_view method, const ConnectRequest& request) override {
    CHECK(streams.count(id) == 0);
    streams[id].method = method;
    streams[id].request = request;
    call(onOpen, id);
  }
  void onResponse(StreamId id, int code, const std::vector<Header>& headers) override {
    CHECK(streams[id].status == 0);
    live(id).status = code;
    live(id).headers = headers;
  }
  void onData(StreamId id, std::span<uint8_t> data) override {
    CHECK(live(id).ends == 0);
    live(id).data.insert(live(id).data.end(), data.begin(), data.end());
    if (takes) {
      consume(id, data.size());
    }
    call(onBytes, id);
  }
  void onEnd(StreamId id) override {
    live(id).ends++;
    call(onFinish, id);
  }
  void onReset(StreamId id, H2Error code) override { live(id).resets.push_back(code); }
  void onSendable(StreamId id) override {
    live(id).sendable++;
    push(id);
  }
  void onGoaway(StreamId lastId, H2Error code) override { goaways.emplace_back(lastId, code); }
  std::span<uint8_t> reserve(size_t min) override {
    CHECK(min <= kReserveBytesMax);
    out.resize(written + (16 << 10));
    return std::span(out).subspan(written);
  }
  void commit(size_t n) override {
    written += n;
    CHECK(written <= out.size());
  }

  void start(bool server, const H2Limits& limits = {}) { restart(server, limits, windows); }
  void restart(bool server, const H2Limits& limits, weft::http::WindowBudget& budget) {
    const auto make = server ? weft::http::newH2Server : weft::http::newH2Client;
    written = 0;
    h2 = make(server ? serverRow : clientRow, limits, {*this, *this, budget});
  }

  // Nothing may come for a stream after its reset.
  Record& live(StreamId id) {
    CHECK(streams.count(id) == 1);
    CHECK(streams[id].resets.empty());
    return streams[id];
  }
  static void call(const std::function<void(StreamId)>& hook, StreamId id) {
    if (hook) {
      hook(id);
    }
  }
  StreamId connect(const std::string& authority = "10.0.0.2:80") {
    const auto id = h2->request({authority, {}});
    REQUIRE(id.ok());
    streams[id.value()] = Record();
    return id.value();
  }
  void consume(StreamId id, size_t n) {
    streams[id].taken += n;
    h2->consumed(id, n);
  }
  // As much of toSend as the connection takes now.
  void push(StreamId id) {
    Record& r = streams[id];
    while (r.sent < r.toSend.size()) {
      const auto room = h2->reserve(id, r.toSend.size() - r.sent);
      if (room.empty()) {
        return;
      }
      std::copy_n(r.toSend.begin() + static_cast<long>(r.sent), room.size(), room.begin());
      r.sent += room.size();
      h2->commit(id, room.size());
    }
    if (r.endAfter) {
      h2->end(id);
    }
  }
  void send(StreamId id, Bytes bytes, bool end = false) {
    Record& r = streams[id];
    r.toSend.insert(r.toSend.end(), bytes.begin(), bytes.end());
    r.endAfter = end;
    push(id);
  }
  void tick() { CHECK(h2->tick(nowMicros).ok()); }
  void receive(Bytes bytes) { status = h2->receive(bytes, nowMicros); }
  Bytes take() {
    if (h2->wantsProduce()) {
      h2->produce();
    }
    out.resize(std::exchange(written, 0));
    return std::exchange(out, {});
  }
};

struct Pair {
  End client;
  End server;

  explicit Pair(const H2Limits& clientLimits = {}, const H2Limits& serverLimits = {}) {
    client.start(false, clientLimits);
    server.start(true, serverLimits);
    server.onOpen = [this](StreamId id) { server.h2->respond(id, 200, {}, false); };
  }
  void pump(size_t grain = SIZE_MAX) {
    for (bool moved = true; moved;) {
      moved = move(client, server, grain);
      moved = move(server, client, grain) || moved;
    }
  }
  static bool move(End& from, End& to, size_t grain = SIZE_MAX) {
    const Bytes all = from.take();
    for (size_t at = 0; at < all.size() && to.status.ok();) {
      const size_t n = std::min(grain, all.size() - at);
      const auto begin = all.begin() + static_cast<long>(at);
      to.receive(Bytes(begin, begin + static_cast<long>(n)));
      at += n;
    }
    return !all.empty();
  }
  StreamId open() {
    const StreamId id = client.connect();
    pump();
    REQUIRE(client.streams[id].status == 200);
    return id;
  }
};

struct Frame {
  uint8_t type = 0;
  uint8_t flags = 0;
  StreamId id = 0;
  Bytes payload;
};

std::vector<Frame> framesOf(const Bytes& bytes) {
  std::vector<Frame> frames;
  for (size_t at = 0; at + 9 <= bytes.size();) {
    const uint8_t* p = bytes.data() + at;
    const size_t length = static_cast<size_t>(p[0] << 16 | p[1] << 8 | p[2]);
    REQUIRE(at + 9 + length <= bytes.size());
    frames.push_back(
        {p[3], p[4], p[5] << 24 | p[6] << 16 | p[7] << 8 | p[8], Bytes(p + 9, p + 9 + length)});
    at += 9 + length;
  }
  return frames;
}

Bytes frame(uint8_t type, uint8_t flags, StreamId id, const Bytes& payload = {}) {
  const auto n = payload.size();
  const auto u = static_cast<uint32_t>(id);
  Bytes bytes = {static_cast<uint8_t>(n >> 16),
                 static_cast<uint8_t>(n >> 8),
                 static_cast<uint8_t>(n),
                 type,
                 flags,
                 static_cast<uint8_t>(u >> 24),
                 static_cast<uint8_t>(u >> 16),
                 static_cast<uint8_t>(u >> 8),
                 static_cast<uint8_t>(u)};
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

void operator+=(Bytes& to, const Bytes& more) {
  to.insert(to.end(), more.begin(), more.end());
}

// HPACK: a literal field without indexing; both parts shorter than 127 bytes.
Bytes literal(const std::string& name, const std::string& value) {
  Bytes bytes = {0, static_cast<uint8_t>(name.size())};
  bytes.insert(bytes.end(), name.begin(), name.end());
  bytes.push_back(static_cast<uint8_t>(value.size()));
  bytes.insert(bytes.end(), value.begin(), value.end());
  return bytes;
}

Bytes fields(const std::vector<std::pair<std::string, std::string>>& all) {
  Bytes bytes;
  for (const auto& [name, value] : all) {
    bytes += literal(name, value);
  }
  return bytes;
}

constexpr uint8_t kData = 0, kHeaders = 1, kPriority = 2, kRst = 3, kSettings = 4, kPing = 6,
                  kGoaway = 7, kWindowUpdate = 8, kContinuation = 9;
constexpr uint8_t kEndStream = 1, kEndHeaders = 4;

Bytes connectFrame(StreamId id, uint8_t flags = kEndHeaders) {
  return frame(kHeaders, flags, id,
               fields({{":method", "CONNECT"}, {":authority", "10.0.0.2:80"}}));
}

// A server and hand-made bytes from a client.
struct RawClient {
  End server;

  explicit RawClient(const H2Limits& limits = {}) {
    server.start(true, limits);
    const char* preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    Bytes hello(preface, preface + kPreface);
    hello += frame(kSettings, 0, 0);
    hello += frame(kSettings, 1, 0);  // the acknowledgement of the server's
    server.take();
    give(hello);
    server.tick();
  }
  void give(const Bytes& bytes) {
    server.receive(bytes);
    said = framesOf(server.take());
  }
  // The error code of the last RST_STREAM for `id`, or GOAWAY for 0; -1 when there is none.
  int codeSaid(StreamId id) const {
    int code = -1;
    for (const Frame& f : said) {
      if (f.type == (id == 0 ? kGoaway : kRst) && f.id == id) {
        code = f.payload[id == 0 ? 7 : 3];
      }
    }
    return code;
  }
  std::vector<Frame> said;
};

}  // namespace

H2_TEST("a CONNECT is asked for, answered, and carries bytes both ways") {
  Pair p;
  const auto id =
      p.client.h2->request({"10.0.0.2:80", {{"baggage", "a=b"}, {"traceparent", "00-1"}}});
  REQUIRE(id.ok());
  p.client.streams[id.value()] = Record();
  p.server.onOpen = [&](StreamId s) { p.server.h2->respond(s, 200, {{"baggage", "c=d"}}, false); };
  p.pump();
  Record& asked = p.server.streams[id.value()];
  CHECK(asked.method == "CONNECT");
  CHECK(asked.request.authority == "10.0.0.2:80");
  REQUIRE(asked.request.headers.size() == 2);
  CHECK(asked.request.headers[0].name == "baggage");
  CHECK(asked.request.headers[1].value == "00-1");
  Record& answer = p.client.streams[id.value()];
  CHECK(answer.status == 200);
  REQUIRE(answer.headers.size() == 1);
  CHECK(answer.headers[0].value == "c=d");
  p.client.send(id.value(), pattern(100));
  p.server.send(id.value(), pattern(70));
  p.pump();
  CHECK(asked.data == pattern(100));
  CHECK(answer.data == pattern(70));
  CHECK(p.client.h2->openStreams() == 1);
  CHECK(p.server.h2->openStreams() == 1);
}

H2_TEST("everything works byte by byte") {
  Pair p;
  const StreamId id = p.client.connect();
  p.client.send(id, pattern(300), true);
  p.server.onFinish = [&](StreamId s) { p.server.send(s, pattern(400), true); };
  p.pump(1);
  CHECK(p.server.streams[id].data == pattern(300));
  CHECK(p.client.streams[id].data == pattern(400));
  CHECK(p.client.h2->openStreams() == 0);
  CHECK(p.server.h2->openStreams() == 0);
}

H2_TEST("a transfer beyond both windows arrives whole, in both directions and on many streams") {
  H2Limits small;
  small.streamWindowBytes = 70'000;
  small.connectionWindowBytes = 200'000;
  Pair p(small, small);
  std::vector<StreamId> ids;
  for (int i = 0; i < 7; i++) {
    ids.push_back(p.open());
  }
  const Bytes data = pattern(500'000);
  for (const StreamId id : ids) {
    p.client.send(id, data, true);
    p.server.send(id, data, true);
  }
  p.pump();
  for (const StreamId id : ids) {
    CHECK(p.server.streams[id].data == data);
    CHECK(p.client.streams[id].data == data);
    CHECK(p.client.streams[id].sendable > 0);
    CHECK(p.server.streams[id].ends == 1);
    CHECK(p.client.streams[id].resets.empty());
  }
  CHECK(p.client.h2->openStreams() == 0);
  CHECK(p.server.h2->openStreams() == 0);
}

H2_TEST("data that the application does not take stops its stream, and no other") {
  H2Limits limits;
  limits.streamWindowBytes = 65'536;
  limits.connectionWindowBytes = 100'000;
  Pair p({}, limits);
  const StreamId stalled = p.open();
  const StreamId other = p.open();
  p.server.takes = false;
  p.client.send(stalled, pattern(300'000));
  p.pump();
  CHECK(p.server.streams[stalled].data.size() == 65'536);
  p.server.takes = true;
  p.client.send(other, pattern(300'000));
  p.pump();
  CHECK(p.server.streams[other].data == pattern(300'000));
  CHECK(p.server.streams[stalled].data.size() == 65'536);

  p.server.h2->consumed(stalled, 65'536);
  p.pump();
  CHECK(p.server.streams[stalled].data == pattern(300'000));
}

H2_TEST("one frame fills one TLS record") {
  Pair p;
  const StreamId id = p.open();
  const auto room = p.client.h2->reserve(id, 1 << 20);
  CHECK(room.size() == (16 << 10) - 9);
  p.client.h2->commit(id, room.size());
  const auto frames = framesOf(p.client.take());
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].payload.size() == room.size());
}

H2_TEST("room is free again after produce(), and an owner that was told to wait is told") {
  Pair p;
  const StreamId id = p.open();
  p.client.h2->commit(id, p.client.h2->reserve(id, 10).size());
  if (clientRow == H2Row::kNgHttp2) {  // payload waits there; our own framing has written it
    CHECK(p.client.h2->reserve(id, 10).empty());
    CHECK(p.client.streams[id].sendable == 0);
  }
  p.client.take();
  CHECK(p.client.streams[id].sendable == (clientRow == H2Row::kNgHttp2 ? 1 : 0));
  CHECK(p.client.h2->reserve(id, 10).size() == 10);
  p.client.h2->commit(id, 0);
  CHECK(p.client.h2->reserve(id, 0).empty());
  CHECK(p.client.take().empty());
}

H2_TEST("a commit may be shorter than its room") {
  Pair p;
  const StreamId id = p.open();
  const auto room = p.client.h2->reserve(id, 1000);
  room[0] = 1;
  room[1] = 2;
  p.client.h2->commit(id, 2);
  p.pump();
  CHECK(p.server.streams[id].data == Bytes{1, 2});
}

H2_TEST("payload may follow a request before its answer") {
  Pair p;
  p.server.onOpen = nullptr;
  const StreamId id = p.client.connect();
  p.client.send(id, pattern(1000));
  p.pump();
  CHECK(p.server.streams[id].data == pattern(1000));
  CHECK(p.client.streams[id].status == 0);
  p.server.h2->respond(id, 200, {}, false);
  p.server.send(id, pattern(3));
  p.pump();
  CHECK(p.client.streams[id].data == pattern(3));
}

H2_TEST("each side may end first, and the other goes on") {
  for (const bool clientFirst : {true, false}) {
    Pair p;
    const StreamId id = p.open();
    End& first = clientFirst ? p.client : p.server;
    End& second = clientFirst ? p.server : p.client;
    first.send(id, pattern(10), true);
    p.pump();
    CHECK(second.streams[id].ends == 1);
    CHECK(second.streams[id].data == pattern(10));
    second.send(id, pattern(100'000), true);
    p.pump();
    CHECK(first.streams[id].data == pattern(100'000));
    CHECK(first.streams[id].ends == 1);
    CHECK(p.client.h2->openStreams() + p.server.h2->openStreams() == 0);
    CHECK(first.streams[id].resets.empty());
    CHECK(second.streams[id].resets.empty());
  }
}

H2_TEST("END_STREAM stands behind the payload") {
  Pair p;
  const StreamId id = p.open();
  p.client.send(id, pattern(10), true);
  const auto frames = framesOf(p.client.take());
  REQUIRE(frames.size() == (clientRow == H2Row::kOwn ? 2 : 1));
  CHECK(frames[0].type == kData);
  CHECK(frames[0].payload == pattern(10));
  CHECK(frames.back().type == kData);
  CHECK(frames.back().flags == kEndStream);
}

H2_TEST("an end without payload is one empty DATA, and nothing can be sent after it") {
  Pair p;
  const StreamId id = p.open();
  p.client.h2->end(id);
  p.client.h2->end(id);
  CHECK(p.client.h2->reserve(id, 10).empty());
  const auto frames = framesOf(p.client.take());
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].payload.empty());
  CHECK(frames[0].flags == kEndStream);
}

H2_TEST("a refusal ends the server's side at once") {
  Pair p;
  p.server.onOpen = [&](StreamId id) { p.server.h2->respond(id, 403, {}, true); };
  const StreamId id = p.client.connect();
  p.pump();
  CHECK(p.client.streams[id].status == 403);
  CHECK(p.client.streams[id].ends == 1);
  CHECK(p.server.h2->openStreams() == 1);
  p.client.h2->end(id);
  p.pump();
  CHECK(p.client.h2->openStreams() + p.server.h2->openStreams() == 0);
  CHECK(p.server.streams[id].ends == 1);
}

H2_TEST("a request whose method is not CONNECT reaches the owner") {
  RawClient raw;
  raw.give(frame(kHeaders, kEndHeaders | kEndStream, 1,
                 fields({{":method", "GET"},
                         {":scheme", "https"},
                         {":authority", "a"},
                         {":path", "/"},
                         {"x", "y"}})));
  REQUIRE(raw.server.status.ok());
  REQUIRE(raw.server.streams.count(1) == 1);
  CHECK(raw.server.streams[1].method == "GET");
  CHECK(raw.server.streams[1].ends == 1);
  CHECK(raw.server.streams[1].request.headers.size() == 1);
  raw.server.h2->respond(1, 405, {}, true);
  raw.server.take();
  CHECK(raw.server.h2->openStreams() == 0);
}

H2_TEST("a malformed request is refused and never seen") {
  const std::vector<std::vector<std::pair<std::string, std::string>>> malformed = {
      {{":method", "CONNECT"}},
      {{":method", "CONNECT"}, {":authority", "a"}, {":scheme", "https"}},
      {{":method", "CONNECT"}, {":authority", "a"}, {":path", "/"}},
      {{":method", "CONNECT"}, {":authority", "a"}, {":protocol", "websocket"}},
      {{":method", "CONNECT"}, {":authority", "a"}, {":authority", "b"}},
      {{":method", "CONNECT"}, {":authority", "a"}, {"Upper", "x"}},
      {{":method", "CONNECT"}, {":authority", "a"}, {"connection", "close"}},
      {{":method", "CONNECT"}, {":authority", "a"}, {"x", "a\nb"}},
      {{":method", "CONNECT"}, {":authority", "a"}, {"x", " a"}},
      {{"x", "y"}, {":method", "CONNECT"}, {":authority", "a"}},
      {{":method", "GET"}, {":authority", "a"}},
  };
  for (const auto& request : malformed) {
    RawClient raw;
    raw.give(frame(kHeaders, kEndHeaders, 1, fields(request)));
    // The library gives up either the stream or the whole connection.
    CHECK((raw.codeSaid(1) == 1 || raw.codeSaid(0) == 1));
    CHECK(raw.server.status.ok() == (raw.codeSaid(0) == -1));
    CHECK(raw.server.streams.empty());
    CHECK(raw.server.h2->openStreams() == 0);
  }
}

H2_TEST("trailers on a tunnel reset it") {
  RawClient raw;
  raw.give(connectFrame(1));
  raw.give(frame(kHeaders, kEndHeaders | kEndStream, 1, fields({{"x", "y"}})));
  CHECK(raw.codeSaid(1) == 1);
  CHECK(raw.server.streams[1].resets == std::vector{H2Error::kProtocolError});
  CHECK(raw.server.streams[1].ends == 0);
}

H2_TEST("a reset reaches the other side once, with its code") {
  for (const bool byClient : {true, false}) {
    Pair p;
    const StreamId id = p.open();
    End& one = byClient ? p.client : p.server;
    End& other = byClient ? p.server : p.client;
    other.send(id, pattern(10));
    one.h2->reset(id, H2Error::kConnectError);
    CHECK(one.h2->openStreams() == 0);
    one.h2->reset(id, H2Error::kCancel);
    p.pump();
    CHECK(other.streams[id].resets == std::vector{H2Error::kConnectError});
    CHECK(one.streams[id].resets.empty());
    CHECK(one.streams[id].data.empty());
    CHECK(other.h2->openStreams() == 0);
    CHECK(p.client.status.ok());
    CHECK(p.server.status.ok());
    p.open();
  }
}

H2_TEST("a reset is the last that is sent of its stream") {
  Pair p;
  const StreamId id = p.open();
  p.client.send(id, pattern(100'000));
  p.client.h2->reset(id, H2Error::kCancel);
  CHECK(framesOf(p.client.take()).back().type == kRst);
  CHECK(p.client.take().empty());
  CHECK(p.client.h2->openStreams() == 0);
}

H2_TEST("a reset overtakes payload that waits, and reaches the owner once") {
  Pair p;
  const StreamId id = p.open();
  p.client.send(id, pattern(100'000));
  p.client.h2->reset(id, H2Error::kCancel);
  p.pump();
  CHECK(p.server.streams[id].data.size() == (clientRow == H2Row::kOwn ? 65'536 : 0));
  CHECK(p.server.streams[id].resets == std::vector{H2Error::kCancel});
}

H2_TEST("a request that is reset before it was sent leaves nothing open") {
  Pair p;
  p.open();
  const StreamId id = p.client.connect();
  p.client.h2->reset(id, H2Error::kCancel);
  p.pump();
  CHECK(p.server.h2->openStreams() == 1);
  CHECK(p.client.streams[id].resets.empty());
  CHECK(p.client.h2->openStreams() == 1);
  CHECK(p.server.status.ok());
}

H2_TEST("calls on a stream that is gone do nothing") {
  Pair p;
  const StreamId id = p.open();
  p.client.h2->reset(id, H2Error::kCancel);
  CHECK(p.client.h2->reserve(id, 10).empty());
  p.client.h2->commit(id, 10);
  p.client.h2->consumed(id, 10);
  p.client.h2->end(id);
  p.server.h2->respond(99, 200, {}, false);
  p.pump();
  CHECK(p.client.status.ok());
  CHECK(p.server.status.ok());
}

H2_TEST("an owner may reset a stream from within its events") {
  for (int where = 0; where < 3; where++) {
    Pair p;
    const auto drop = [&](StreamId id) { p.server.h2->reset(id, H2Error::kRefusedStream); };
    (where == 0 ? p.server.onOpen : where == 1 ? p.server.onBytes : p.server.onFinish) = drop;
    const StreamId id = p.client.connect();
    p.client.send(id, pattern(50'000), true);
    p.pump();
    CHECK(p.client.streams[id].resets == std::vector{H2Error::kRefusedStream});
    CHECK(p.server.streams[id].resets.empty());
    CHECK(p.server.h2->openStreams() + p.client.h2->openStreams() == 0);
    p.server.onBytes = p.server.onFinish = nullptr;
    p.server.onOpen = [&](StreamId s) { p.server.h2->respond(s, 200, {}, false); };
    p.open();
  }
}

H2_TEST("a peer's reset without an error is a reset all the same") {
  RawClient raw;
  raw.give(connectFrame(1));
  raw.server.h2->respond(1, 200, {}, false);
  raw.server.take();
  raw.give(frame(kRst, 0, 1, {0, 0, 0, 0}));
  CHECK(raw.server.streams[1].resets == std::vector{H2Error::kNoError});
}

H2_TEST("a drain takes no new streams and lets the open ones finish") {
  Pair p;
  const StreamId id = p.open();
  p.server.h2->goaway(H2Error::kNoError);
  CHECK_FALSE(p.server.h2->takesStreams());
  const StreamId late = p.client.connect();  // crosses the GOAWAY
  const Bytes crossing = p.client.take();
  Pair::move(p.server, p.client);
  p.server.receive(crossing);
  REQUIRE(p.client.goaways.size() == 1);
  CHECK(p.client.goaways[0] == std::pair{id, H2Error::kNoError});
  CHECK_FALSE(p.client.h2->takesStreams());
  CHECK(p.client.h2->request({"10.0.0.2:80", {}}).status().code() == Code::kUnavailable);
  p.pump();
  CHECK(p.server.streams.count(late) == 0);
  CHECK(p.client.streams[late].resets == std::vector{H2Error::kRefusedStream});
  p.client.send(id, pattern(200'000), true);
  p.server.send(id, pattern(200'000), true);
  p.pump();
  CHECK(p.server.streams[id].data == pattern(200'000));
  CHECK(p.client.streams[id].data == pattern(200'000));
  CHECK(p.server.status.ok());
  CHECK(p.client.status.ok());
}

H2_TEST("a drain may be said twice, with other codes, and is no failure") {
  Pair p;
  p.open();
  p.server.h2->goaway(H2Error::kNoError);
  p.pump();
  p.server.h2->goaway(H2Error::kEnhanceYourCalm);
  p.pump();
  CHECK(p.server.status.ok());
  CHECK(p.client.goaways.size() == 2);
  p.client.h2->goaway(H2Error::kNoError);
  p.pump();
  CHECK(p.client.status.ok());
  CHECK_FALSE(p.client.h2->takesStreams());
}

H2_TEST("a server that was told to expect no more streams says so") {
  Pair p;
  const StreamId id = p.open();
  CHECK(p.server.h2->takesStreams());
  p.client.h2->goaway(H2Error::kNoError);
  p.pump();
  CHECK_FALSE(p.server.h2->takesStreams());
  p.client.send(id, pattern(10), true);
  p.pump();
  CHECK(p.server.streams[id].data == pattern(10));
}

H2_TEST("a client opens as many streams as the server's SETTINGS allow") {
  H2Limits limits;
  limits.concurrentStreamsMax = 3;
  Pair p({}, limits);
  CHECK(p.client.h2->peerStreamsMax() == 100);
  p.open();
  CHECK(p.client.h2->peerStreamsMax() == 3);
  const StreamId second = p.open();
  p.open();
  CHECK(p.client.h2->takesStreams());
  CHECK(p.client.h2->request({"10.0.0.2:80", {}}).status().code() == Code::kUnavailable);
  p.client.h2->reset(second, H2Error::kCancel);
  p.open();
  CHECK(p.server.h2->openStreams() == 3);
}

H2_TEST("a client that opens one stream too many loses that stream, or all") {
  H2Limits limits;
  limits.concurrentStreamsMax = 2;
  RawClient raw(limits);
  raw.give(connectFrame(1));
  raw.give(connectFrame(3));
  CHECK(raw.server.status.ok());
  raw.give(connectFrame(5));
  CHECK(raw.server.streams.size() == 2);
  if (serverRow == H2Row::kOwn) {
    CHECK(raw.codeSaid(5) == 7);
    CHECK(raw.server.status.ok());
    CHECK(raw.server.h2->openStreams() == 2);
    raw.give(frame(kRst, 0, 1, {0, 0, 0, 8}));
    raw.give(connectFrame(7));
    CHECK(raw.server.streams.count(7) == 1);
    return;
  }
  CHECK(raw.server.status.code() == Code::kInvalid);
  CHECK(raw.codeSaid(0) == 1);
  CHECK(raw.server.streams[1].resets.size() == 1);
  CHECK(raw.server.streams[3].resets.size() == 1);
  CHECK(raw.server.h2->openStreams() == 0);
}

H2_TEST("an error ends the connection for good, and is named to the peer") {
  const std::vector<std::pair<Bytes, int>> errors = {
      {frame(kData, 0, 1, {1}), 1},                        // on an idle stream
      {frame(kData, 0, 0, {1}), 1},                        // on none
      {frame(kSettings, 0, 0, {1}), 6},                    // odd length
      {frame(kSettings, 0, 0, {0, 4, 0xff, 0, 0, 0}), 3},  // a window over 2^31-1
      {frame(kPing, 0, 0, {1}), 6},                        // odd length
      {frame(kHeaders, kEndHeaders, 2, {}), 1},            // an even stream
      {frame(kHeaders, kEndHeaders, 1, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), 9},
      {frame(kWindowUpdate, 0, 0, {0, 0, 0, 0}), 1},
      {frame(kWindowUpdate, 0, 0, {0x7f, 0xff, 0xff, 0xff}), 3},
      {frame(kContinuation, kEndHeaders, 1, {}), 1},
      {frame(kData, 0, 1, Bytes(16385)), 6},  // over MAX_FRAME_SIZE
  };
  for (const auto& [bytes, code] : errors) {
    CAPTURE(code);
    CAPTURE(static_cast<int>(bytes[3]));
    RawClient raw;
    raw.give(bytes);
    CHECK(raw.server.status.code() == Code::kInvalid);
    CHECK(raw.codeSaid(0) == code);
    raw.give(connectFrame(1));
    CHECK_FALSE(raw.server.status.ok());
    CHECK(raw.said.empty());
    CHECK(raw.server.streams.empty());
    CHECK_FALSE(raw.server.h2->wantsProduce());
  }
}

H2_TEST("what does not start as HTTP/2 is refused") {
  End server;
  server.start(true);
  const char* text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  server.receive(Bytes(text, text + std::strlen(text)));
  CHECK(server.status.code() == Code::kInvalid);
  CHECK_FALSE(server.take().empty());
}

H2_TEST("the budget of control frames holds to the last one, and tick() renews it") {
  H2Limits limits;
  limits.controlFramesPerTickMax = 10;
  const std::vector<std::pair<const char*, Bytes>> kinds = {
      {"PING", frame(kPing, 0, 0, Bytes(8))}, {"PING ACK", frame(kPing, 1, 0, Bytes(8))},
      {"SETTINGS", frame(kSettings, 0, 0)},   {"PRIORITY", frame(kPriority, 0, 1, {0, 0, 0, 0, 1})},
      {"empty DATA", frame(kData, 0, 1)},
  };
  for (const auto& [name, one] : kinds) {
    CAPTURE(std::string(name));
    RawClient raw(limits);
    raw.give(connectFrame(1));
    for (int round = 0; round < 2; round++) {
      Bytes ten;
      for (int i = 0; i < 10; i++) {
        ten += one;
      }
      raw.give(ten);
      CHECK(raw.server.status.ok());
      raw.server.tick();
    }
    for (int i = 0; i < 10; i++) {
      raw.give(one);
    }
    CHECK(raw.server.status.ok());
    raw.give(one);
    CHECK(raw.server.status.code() == Code::kLimit);
    CHECK(raw.codeSaid(0) == 11);
    CHECK(raw.server.streams[1].resets.size() == 1);
  }
}

// Batches of what `make` makes for one stream, until the connection fails or 1000 went; how many.
int flood(RawClient& raw, const std::function<Bytes(StreamId)>& make) {
  int given = 0;
  for (; given < 1000 && raw.server.status.ok(); given++) {
    raw.give(make(2 * given + 1));
  }
  return given;
}

bool calmed(const RawClient& raw) {
  return raw.server.status.code() == Code::kLimit && raw.codeSaid(0) == 11;
}

Bytes requestAndReset(StreamId id) {
  Bytes both = connectFrame(id);
  both += frame(kRst, 0, id, {0, 0, 0, 8});
  return both;
}

H2_TEST("requests that are taken back are a flood beyond their budget, which tick() renews") {
  H2Limits limits;
  limits.lostRequestsPerTickMax = 10;
  RawClient raw(limits);
  StreamId id = 1;
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 10; i++, id += 2) {
      raw.give(requestAndReset(id));
    }
    CHECK(raw.server.status.ok());
    raw.server.tick();
  }
  RawClient fast(limits);
  CHECK(flood(fast, requestAndReset) == 11);
  CHECK(calmed(fast));
}

H2_TEST("requests that we refuse are a flood beyond their budget, which tick() renews") {
  H2Limits limits;
  limits.lostRequestsPerTickMax = 10;
  const auto refuse = [](RawClient& raw, int status) {
    raw.server.onOpen = [&raw, status](StreamId id) {
      if (status > 0) {
        raw.server.h2->respond(id, status, {}, true);
      } else {
        raw.server.h2->reset(id, H2Error::kRefusedStream);
      }
    };
  };
  const auto ask = [](StreamId id) { return connectFrame(id, kEndHeaders | kEndStream); };
  for (const int status : {400, 401, 503, 0}) {
    CAPTURE(status);
    RawClient slow(limits);
    refuse(slow, status);
    StreamId id = 1;
    for (int round = 0; round < 3; round++) {
      for (int i = 0; i < 10; i++, id += 2) {
        slow.give(ask(id));
      }
      CHECK(slow.server.status.ok());
      slow.server.tick();
    }
    for (const bool reset : {false, true}) {
      RawClient fast(limits);
      refuse(fast, status);
      CHECK(flood(fast, reset ? std::function<Bytes(StreamId)>(requestAndReset) : ask) == 11);
      CHECK(calmed(fast));
      CHECK(fast.server.h2->openStreams() == 0);
    }
  }
}

H2_TEST("refusals between two receipts are held against the peer when it asks next") {
  H2Limits limits;
  limits.lostRequestsPerTickMax = 10;
  RawClient raw(limits);
  for (StreamId id = 1; id <= 21; id += 2) {
    raw.give(connectFrame(id));
  }
  for (StreamId id = 1; id <= 21; id += 2) {
    raw.server.h2->respond(id, 503, {}, true);
    raw.server.take();
    raw.server.h2->reset(id, H2Error::kNoError);  // counts no second time
  }
  raw.give(frame(kPing, 0, 0, Bytes(8)));
  CHECK(raw.server.status.ok());
  raw.give(connectFrame(23));
  CHECK(calmed(raw));
}

H2_TEST("refusals by us and requests taken back come out of one budget") {
  H2Limits limits;
  limits.lostRequestsPerTickMax = 10;
  RawClient raw(limits);
  raw.server.onOpen = [&raw](StreamId id) {
    if (id % 4 == 1) {
      raw.server.h2->respond(id, 401, {}, true);
    }
  };
  CHECK(flood(raw, requestAndReset) == 11);
  CHECK(calmed(raw));
}

H2_TEST("a peer that is refused 2,000 times between ticks, and resets each, is not cut") {
  RawClient raw;
  raw.server.onOpen = [&raw](StreamId id) { raw.server.h2->respond(id, 401, {}, true); };
  for (int i = 0; i < 2000; i++) {
    const StreamId id = 2 * i + 1;
    raw.give(connectFrame(id));
    raw.server.h2->reset(id, H2Error::kNoError);
    raw.server.take();
    raw.give(frame(kRst, 0, id, {0, 0, 0, 8}));  // crossed our own
  }
  CHECK(raw.server.status.ok());
  raw.give(connectFrame(4001));
  CHECK(calmed(raw));
}

H2_TEST("resets of streams that were answered have a budget, which tick() renews") {
  H2Limits limits;
  limits.controlFramesPerTickMax = 10;
  limits.lostRequestsPerTickMax = 0;
  limits.resetsPerTickMax = 20;
  RawClient raw(limits);
  StreamId id = 1;
  const auto openAndReset = [&] {
    raw.give(connectFrame(id));
    raw.server.h2->respond(id, 200, {}, false);
    raw.give(frame(kRst, 0, id, {0, 0, 0, 8}));
    CHECK(raw.server.streams[id].resets.size() == 1);
    id += 2;
  };
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 20; i++) {
      openAndReset();
    }
    CHECK(raw.server.status.ok());
    raw.server.tick();
  }
  for (int i = 0; i < 21; i++) {
    openAndReset();
  }
  CHECK(calmed(raw));
}

H2_TEST("resets of one stream over and over are a flood, however many we reset") {
  H2Limits limits;
  limits.resetsPerTickMax = 500;
  RawClient raw(limits);
  for (StreamId id = 1; id < 601; id += 2) {
    raw.give(connectFrame(id));
    raw.server.h2->reset(id, H2Error::kCancel);
    raw.server.take();
  }
  const Bytes again = frame(kRst, 0, 1, {0, 0, 0, 8});
  CHECK(flood(raw, [&](StreamId) { return again; }) == 501);
  CHECK(calmed(raw));
}

H2_TEST("requests after our GOAWAY are passed over, but not for ever") {
  H2Limits limits;
  limits.controlFramesPerTickMax = 10;
  RawClient raw(limits);
  raw.give(connectFrame(1));  // without an open stream nghttp2 reads nothing any more
  raw.server.h2->goaway(H2Error::kNoError);
  raw.server.take();
  CHECK(flood(raw, [](StreamId id) { return connectFrame(id + 2); }) == 11);
  CHECK(calmed(raw));
}

H2_TEST("window updates are free for what was sent, and more of them are a flood") {
  H2Limits limits;
  limits.controlFramesPerTickMax = 10;
  RawClient raw(limits);
  raw.give(connectFrame(1));  // two updates are free with it
  raw.server.h2->respond(1, 200, {}, false);
  raw.server.send(1, pattern(10));
  raw.server.take();  // and ten with the DATA
  for (int i = 0; i < 22; i++) {
    raw.give(frame(kWindowUpdate, 0, i % 2, {0, 0, 0, 1}));
    CHECK(raw.server.status.ok());
  }
  raw.give(frame(kWindowUpdate, 0, 0, {0, 0, 0, 1}));
  CHECK(raw.server.status.code() == Code::kLimit);
  CHECK(raw.codeSaid(0) == 11);
}

H2_TEST("a peer that makes us reset streams is cut short") {
  H2Limits limits;
  limits.controlFramesPerTickMax = 10;
  RawClient raw(limits);
  StreamId id = 1;
  for (; id < 1000 && raw.server.status.ok(); id += 2) {
    raw.give(frame(kHeaders, kEndHeaders, id, fields({{":method", "CONNECT"}})));
  }
  CHECK(id <= 25);
  CHECK_FALSE(raw.server.status.ok());
  CHECK(raw.server.streams.empty());
}

H2_TEST("padding is passed over, given back, and may not be longer than its frame") {
  RawClient raw;
  raw.give(connectFrame(1));
  raw.give(frame(kData, 8, 1, {3, 'a', 'b', 0, 0, 0}));
  CHECK(raw.server.streams[1].data == Bytes{'a', 'b'});
  Bytes padded(16384, 'p');
  padded[0] = 255;
  for (int i = 0; i < 40; i++) {
    raw.give(frame(kData, 8, 1, padded));
  }
  CHECK(raw.server.status.ok());
  CHECK(raw.server.streams[1].data.size() == 2 + size_t{40} * (16384 - 256));
  raw.give(frame(kData, 9, 1, {1, 'c', 0}));
  CHECK(raw.server.streams[1].ends == 1);
  raw.give(connectFrame(3));
  raw.give(frame(kData, 8, 3, {3, 'a', 'b'}));
  CHECK(raw.codeSaid(0) == 1);
}

H2_TEST("a header block may be padded, carry a priority, and come in pieces") {
  RawClient raw;
  Bytes payload = {2, 0, 0, 0, 0, 16};
  const Bytes method = literal(":method", "CONNECT");
  payload += method;
  payload += Bytes(2);
  Bytes request = frame(kHeaders, 8 | 0x20, 1, payload);
  request += frame(kContinuation, kEndHeaders, 1, literal(":authority", "10.0.0.2:80"));
  raw.give(request);
  REQUIRE(raw.server.streams.count(1) == 1);
  CHECK(raw.server.streams[1].request.authority == "10.0.0.2:80");
}

H2_TEST("what crosses our reset is no error") {
  RawClient raw;
  raw.give(connectFrame(1));
  raw.server.h2->reset(1, H2Error::kCancel);
  raw.server.take();
  for (int i = 0; i < 30; i++) {
    raw.give(frame(kData, 0, 1, Bytes(16384)));
  }
  raw.give(frame(kWindowUpdate, 0, 1, {0, 0, 0, 9}));
  raw.give(frame(kRst, 0, 1, {0, 0, 0, 8}));
  CHECK(raw.server.status.ok());
  CHECK(raw.codeSaid(1) == -1);
  // The connection's window was given back all the same.
  raw.give(connectFrame(3));
  raw.give(frame(kData, 0, 3, {1}));
  CHECK(raw.server.streams[3].data.size() == 1);
}

H2_TEST("payload beyond a window is an error of the stream, or of the connection") {
  H2Limits limits;
  limits.streamWindowBytes = 65'535;
  limits.connectionWindowBytes = 65'535;
  RawClient raw(limits);
  raw.server.takes = false;
  raw.give(connectFrame(1));
  Bytes most;
  for (int i = 0; i < 4; i++) {
    most += frame(kData, 0, 1, Bytes(i < 3 ? 16'384 : 16'383));
  }
  raw.give(most);
  CHECK(raw.server.streams[1].data.size() == 65'535);
  raw.give(frame(kData, 0, 1, {1}));
  CHECK((raw.codeSaid(1) == 3 || raw.codeSaid(0) == 3));
  CHECK(raw.server.streams[1].data.size() == 65'535);
}

H2_TEST("a response that comes after the client's reset is passed over") {
  Pair p;
  const StreamId id = p.client.connect();
  const Bytes request = p.client.take();
  p.server.receive(request);
  p.client.h2->reset(id, H2Error::kCancel);
  p.pump();
  CHECK(p.client.status.ok());
  CHECK(p.server.status.ok());
  CHECK(p.server.streams[id].resets == std::vector{H2Error::kCancel});
  p.open();
}

H2_TEST("frames of unknown types are passed over, but not for ever") {
  H2Limits limits;
  limits.controlFramesPerTickMax = 10;
  RawClient raw(limits);
  int given = 0;
  for (; given < 1000 && raw.server.status.ok(); given++) {
    raw.give(frame(0xf0, 0, 0, {1}));
  }
  CHECK(given > 10);
  CHECK(raw.server.status.code() == Code::kLimit);
  CHECK(raw.codeSaid(0) == 11);
}

H2_TEST("data frames with payload do not count as control frames") {
  H2Limits limits;
  limits.controlFramesPerTickMax = 10;
  RawClient raw(limits);
  raw.give(connectFrame(1));
  for (int i = 0; i < 100; i++) {
    raw.give(frame(kData, 0, 1, {1}));
  }
  CHECK(raw.server.status.ok());
  CHECK(raw.server.streams[1].data.size() == 100);
}

H2_TEST("a header list has a greatest size, and one byte more costs the stream") {
  // :method CONNECT and :authority a cost 46 + 43 bytes, "x" with its value 33 + n.
  constexpr uint32_t kRest = 7 + 7 + 32 + 10 + 1 + 32 + 33;
  H2Limits limits;
  limits.headerListBytesMax = kRest + 100;
  for (const size_t n : {100, 101}) {
    RawClient raw(limits);
    raw.give(
        frame(kHeaders, kEndHeaders, 1,
              fields({{":method", "CONNECT"}, {":authority", "a"}, {"x", std::string(n, 'v')}})));
    CHECK(raw.server.status.ok());
    CHECK(raw.server.streams.count(1) == (n == 100 ? 1 : 0));
    CHECK(raw.codeSaid(1) == (n == 100 ? -1 : 11));
    raw.give(connectFrame(3));
    CHECK(raw.server.streams.count(3) == 1);
  }
}

H2_TEST("a header list far over its limit costs the connection") {
  H2Limits limits;
  limits.headerListBytesMax = 256;
  RawClient raw(limits);
  Bytes block = fields({{":method", "CONNECT"}, {":authority", "a"}});
  for (int i = 0; i < 20; i++) {
    block += literal("x", std::string(60, 'v'));
  }
  raw.give(frame(kHeaders, kEndHeaders, 1, block));
  CHECK(raw.server.status.code() == Code::kLimit);
  CHECK(raw.codeSaid(0) == 11);
}

H2_TEST("a header block in too many pieces costs the connection") {
  RawClient raw;
  Bytes request = frame(kHeaders, 0, 1, fields({{":method", "CONNECT"}, {":authority", "a"}}));
  for (int i = 0; i < 8; i++) {
    request += frame(kContinuation, 0, 1, literal("x", "y"));
  }
  raw.give(request);
  CHECK(raw.server.status.ok());
  raw.give(frame(kContinuation, 0, 1, literal("x", "y")));
  CHECK(raw.server.status.code() == Code::kLimit);
  CHECK(raw.codeSaid(0) == 11);
}

H2_TEST("a response over the header limit resets its stream") {
  H2Limits limits;
  limits.headerListBytesMax = 200;
  Pair p(limits, {});
  p.server.onOpen = [&](StreamId id) {
    p.server.h2->respond(id, 200, {{"x", std::string(300, 'v')}}, false);
  };
  const StreamId id = p.client.connect();
  p.pump();
  CHECK(p.client.streams[id].status == 0);
  CHECK(p.client.streams[id].resets == std::vector{H2Error::kEnhanceYourCalm});
  CHECK(p.server.streams[id].resets == std::vector{H2Error::kEnhanceYourCalm});
}

H2_TEST("a client passes over interim responses and takes one final one") {
  End client;
  client.start(false);
  const StreamId id = client.connect();
  client.take();
  Bytes bytes = frame(kSettings, 0, 0);
  bytes += frame(kHeaders, kEndHeaders, id, fields({{":status", "103"}, {"x", "y"}}));
  bytes += frame(kHeaders, kEndHeaders, id, fields({{":status", "200"}}));
  client.receive(bytes);
  CHECK(client.status.ok());
  CHECK(client.streams[id].status == 200);
  CHECK(client.streams[id].headers.empty());
  client.receive(frame(kHeaders, kEndHeaders | kEndStream, id, fields({{"x", "y"}})));
  CHECK(client.streams[id].resets == std::vector{H2Error::kProtocolError});
}

H2_TEST("a stream window that shrinks below zero opens again") {
  End client;
  client.start(false);
  const StreamId id = client.connect();
  client.send(id, pattern(65'535));
  client.take();
  while (client.h2->wantsProduce()) {
    client.take();
  }
  client.receive(frame(kSettings, 0, 0, {0, 4, 0, 0, 0, 10}));  // 10 - 65535
  client.receive(frame(kWindowUpdate, 0, 0, {0, 1, 0, 0}));
  client.take();
  const int before = client.streams[id].sendable;
  client.send(id, pattern(5));
  CHECK(client.h2->reserve(id, 5).empty());
  client.receive(frame(kWindowUpdate, 0, id, {0, 0, 0xff, 0xf5}));  // zero
  CHECK(client.streams[id].sendable == before);
  client.receive(frame(kWindowUpdate, 0, id, {0, 0, 0, 1}));
  CHECK(client.streams[id].sendable == before + 1);
  CHECK(client.streams[id].sent == 65'536);
}

H2_TEST("a scarce connection window goes round all streams") {
  End client;
  client.start(false);
  std::vector<StreamId> ids;
  for (int i = 0; i < 4; i++) {
    ids.push_back(client.connect());
    client.send(ids.back(), pattern(100'000));
  }
  client.receive(frame(kSettings, 0, 0));
  while (client.h2->wantsProduce()) {
    client.take();
  }
  for (const StreamId id : ids) {
    client.receive(frame(kWindowUpdate, 0, id, {0, 0, 0xff, 0xff}));
  }
  size_t before = 0;
  std::map<StreamId, size_t> share;
  for (const StreamId id : ids) {
    before += client.streams[id].sent;
    share[id] = client.streams[id].sent;
  }
  CHECK(before == 65'535);
  for (int i = 0; i < 8; i++) {
    client.receive(frame(kWindowUpdate, 0, 0, {0, 0, 0, 10}));
    client.take();
  }
  for (const StreamId id : ids) {
    CHECK(client.streams[id].sent == share[id] + 20);
  }
}

H2_TEST("a ping is answered") {
  RawClient raw;
  raw.give(frame(kPing, 0, 0, Bytes(8, 5)));
  REQUIRE(raw.said.size() == 1);
  CHECK(raw.said[0].type == kPing);
  CHECK(raw.said[0].flags == 1);
  CHECK(raw.said[0].payload == Bytes(8, 5));
}

H2_TEST("a silent peer is asked, and its answer tells how far away it is") {
  Pair p;
  p.open();
  const auto asked = [&] {
    p.client.tick();
    return framesOf(p.client.take());
  };
  CHECK(asked().empty());
  p.client.nowMicros += 9'999'999;
  CHECK(asked().empty());
  p.client.nowMicros += 1;
  const auto sent = asked();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].type == kPing);
  CHECK(asked().empty());
  CHECK(p.client.h2->rttMicros() == 0);
  p.client.nowMicros += 700;
  p.client.receive(frame(kPing, 1, 0, Bytes(8, 77)));  // to no question of ours
  CHECK(p.client.h2->rttMicros() == 0);
  p.client.receive(frame(kPing, 1, 0, sent[0].payload));
  CHECK(p.client.h2->rttMicros() == 700);
}

H2_TEST("a peer that says nothing for too long is dead, one that says anything is not") {
  Pair p;
  p.open();
  End& client = p.client;
  client.nowMicros += 10'000'000;
  client.tick();
  client.nowMicros += 9'999'999;
  client.tick();
  SUBCASE("dead") {
    client.nowMicros += 1;
    CHECK(client.h2->tick(client.nowMicros).code() == Code::kTimeout);
  }
  SUBCASE("alive") {
    client.receive(frame(kWindowUpdate, 0, 0, {0, 0, 0, 1}));
    client.nowMicros += 1;
    client.tick();
  }
}

H2_TEST("a peer is not held dead for the time in which we did not run") {
  Pair p;
  p.open();
  p.client.nowMicros += 3'600'000'000;
  p.client.tick();
  CHECK(framesOf(p.client.take()).size() == 1);
  p.client.nowMicros += 9'000'000;
  p.client.tick();
  p.client.nowMicros += 1'000'000;
  CHECK(p.client.h2->tick(p.client.nowMicros).code() == Code::kTimeout);
}

H2_TEST("a drain serves the requests that are on their way") {
  Pair p;
  const StreamId id = p.open();
  p.server.h2->drain();
  p.server.h2->drain();
  CHECK_FALSE(p.server.h2->takesStreams());
  const StreamId late = p.client.connect();  // crosses the GOAWAY
  const Bytes crossing = p.client.take();
  Pair::move(p.server, p.client);
  REQUIRE(p.client.goaways.size() == 1);
  CHECK(p.client.goaways[0] == std::pair{StreamId{INT32_MAX}, H2Error::kNoError});
  CHECK_FALSE(p.client.h2->takesStreams());
  p.server.receive(crossing);
  p.pump();
  CHECK(p.client.streams[late].status == 200);
  REQUIRE(p.client.goaways.size() == 2);
  CHECK(p.client.goaways[1] == std::pair{late, H2Error::kNoError});
  for (const StreamId open : {id, late}) {
    p.client.send(open, pattern(200'000), true);
    p.server.send(open, pattern(200'000), true);
    p.pump();
    CHECK(p.server.streams[open].data == pattern(200'000));
    CHECK(p.client.streams[open].resets.empty());
  }
  CHECK(p.server.h2->openStreams() == 0);
  CHECK(p.server.status.ok());
}

H2_TEST("a drain may be cut short") {
  Pair p;
  p.open();
  p.server.h2->drain();
  p.server.h2->goaway(H2Error::kNoError);
  p.pump();
  REQUIRE(p.client.goaways.size() == 2);
  CHECK(p.client.goaways[1].first == 1);
}

H2_TEST("SETTINGS of the peer are its greeting") {
  Pair p;
  CHECK_FALSE(p.client.h2->greeted());
  CHECK_FALSE(p.server.h2->greeted());
  p.pump();
  CHECK(p.client.h2->greeted());
  CHECK(p.server.h2->greeted());
}

namespace {

struct Budget final : weft::http::WindowBudget {
  uint32_t left = 0;
  uint32_t taken = 0;
  explicit Budget(uint32_t bytes) : left(bytes) {}
  bool take(uint32_t bytes) override {
    const bool granted = bytes <= left;
    left -= granted ? bytes : 0;
    taken += granted ? bytes : 0;
    return granted;
  }
  void give(uint32_t bytes) override {
    CHECK(bytes <= taken);
    left += bytes;
    taken -= bytes;
  }
};

// A client that sends all it can to a server a round trip away, for `rounds` of those. Returns what
// arrived in the last one.
size_t sendForRounds(Pair& p, StreamId id, int rounds, uint64_t rttMicros) {
  static const Bytes piece = pattern(1 << 20);
  size_t last = 0;
  for (int i = 0; i < rounds; i++) {
    const size_t before = p.server.streams[id].data.size();
    const Record& sending = p.client.streams[id];
    const bool isShort = sending.toSend.size() - sending.sent < piece.size();
    p.client.send(id, isShort ? piece : Bytes());
    p.client.nowMicros += rttMicros;
    p.server.nowMicros += rttMicros;
    Bytes sent = p.client.take();
    while (p.client.h2->wantsProduce()) {
      sent += p.client.take();
    }
    p.server.receive(sent);
    Pair::move(p.server, p.client);
    last = p.server.streams[id].data.size() - before;
  }
  return last;
}

}  // namespace

H2_TEST("a window that holds the sender back grows to its greatest size, and is given back") {
  H2Limits limits;
  limits.streamWindowBytesMax = 1 << 20;
  Budget budget(UINT32_MAX);
  Pair p({}, limits);
  p.server.restart(true, limits, budget);
  const StreamId id = p.open();
  CHECK(budget.taken == 64 << 10);
  CHECK(sendForRounds(p, id, 1, 1000) == 65'536);
  CHECK(sendForRounds(p, id, 40, 1000) >= 512 << 10);  // up to half is on its way back
  CHECK(budget.taken == 1 << 20);
  CHECK(p.server.h2->rttMicros() > 0);
  CHECK(p.server.status.ok());
  p.client.h2->reset(id, H2Error::kCancel);
  p.pump();
  CHECK(budget.taken == 0);
}

H2_TEST("a window does not grow when the application is what is slow") {
  Budget budget(UINT32_MAX);
  Pair p;
  p.server.restart(true, {}, budget);
  const StreamId id = p.open();
  p.server.takes = false;
  for (int i = 0; i < 200; i++) {
    sendForRounds(p, id, 1, 1000);
    const size_t held = p.server.streams[id].data.size() - p.server.streams[id].taken;
    p.server.consume(id, std::min<size_t>(held, 8192));
  }
  CHECK(p.server.streams[id].data.size() > 500'000);
  CHECK(budget.taken == 64 << 10);
}

H2_TEST("a window grows no further than the budget lets it") {
  Budget budget(200 << 10);
  Pair p;
  p.server.restart(true, {}, budget);
  const StreamId id = p.open();
  sendForRounds(p, id, 40, 1000);
  CHECK(budget.taken == 128 << 10);
  CHECK(sendForRounds(p, id, 1, 1000) <= 128 << 10);
  CHECK(p.server.status.ok());
  CHECK(p.client.status.ok());
}

H2_TEST("many streams at once are not held back by the connection's window") {
  Pair p;
  std::vector<StreamId> ids;
  for (int i = 0; i < 50; i++) {
    ids.push_back(p.open());
  }
  for (const StreamId id : ids) {
    p.client.send(id, pattern(65'536));
  }
  Bytes all = p.client.take();
  while (p.client.h2->wantsProduce()) {
    all += p.client.take();
  }
  p.server.receive(all);
  for (const StreamId id : ids) {
    CHECK(p.server.streams[id].data.size() == 65'536);
  }
}

H2_TEST("each stream's window is taken from the budget, and given back when it ends") {
  const H2Limits limits;
  const uint32_t two = 2 * limits.streamWindowBytes;
  Budget clients(two), servers(two);
  {
    Pair p;
    p.client.restart(false, limits, clients);
    p.server.restart(true, limits, servers);
    const StreamId first = p.open();
    const StreamId second = p.open();
    CHECK(clients.left == 0);
    CHECK(servers.left == 0);
    CHECK(p.client.h2->request({"10.0.0.2:80", {}}).status().code() == Code::kLimit);
    p.client.h2->reset(first, H2Error::kCancel);
    p.pump();
    CHECK(clients.left == limits.streamWindowBytes);
    CHECK(servers.left == limits.streamWindowBytes);
    servers.left = 0;
    const StreamId refused = p.client.connect();
    p.pump();
    CHECK(p.client.streams[refused].resets == std::vector{H2Error::kRefusedStream});
    CHECK(p.server.streams.count(refused) == 0);
    servers.left = limits.streamWindowBytes;
    p.client.send(second, pattern(10), true);
    p.server.send(second, pattern(10), true);
    p.pump();
    CHECK(servers.left == two);
    p.open();
    p.open();
  }
  CHECK(clients.left == two);
  CHECK(servers.left == two);
}

H2_TEST("a client's SETTINGS forbid push, and a server's name its limits") {
  Pair p;
  Bytes hello = p.client.take();
  hello.erase(hello.begin(), hello.begin() + kPreface);
  const auto valueOf = [](const Frame& settings, uint8_t id) {
    for (size_t at = 0; at + 6 <= settings.payload.size(); at += 6) {
      const uint8_t* p6 = settings.payload.data() + at;
      if (p6[1] == id) {
        return static_cast<int64_t>(p6[2]) << 24 | p6[3] << 16 | p6[4] << 8 | p6[5];
      }
    }
    return int64_t{-1};
  };
  const auto mine = framesOf(hello);
  REQUIRE(mine.size() == 2);
  CHECK(valueOf(mine[0], 2) == 0);
  CHECK(valueOf(mine[0], 4) == 64 << 10);
  CHECK(mine[1].type == kWindowUpdate);
  const auto theirs = framesOf(p.server.take());
  REQUIRE(theirs.size() == 2);
  CHECK(valueOf(theirs[0], 2) == -1);
  CHECK(valueOf(theirs[0], 3) == 200);
  CHECK(valueOf(theirs[0], 5) == 16 << 10);
  CHECK(valueOf(theirs[0], 6) == 16 << 10);
}
