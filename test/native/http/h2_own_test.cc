// SPDX-License-Identifier: Apache-2.0
// What both rows promise stands in h2_test.cc; here is what only our own framing does.
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "http/h2_own.h"

#include <doctest/doctest.h>
// clang-format on

#include <vector>

using namespace weft::http;
using weft::Code;

namespace {

using Bytes = std::vector<uint8_t>;

struct Owner final : H2Events, ByteWriter {
  UnboundedWindows windows;
  Bytes out = Bytes(1 << 20);
  size_t written = 0;
  size_t largest = 0;

  void onRequest(StreamId, std::string_view, const ConnectRequest&) override {}
  void onResponse(StreamId, int, const std::vector<Header>&) override {}
  void onData(StreamId, std::span<uint8_t>) override {}
  void onEnd(StreamId) override {}
  void onReset(StreamId, H2Error) override {}
  void onSendable(StreamId) override {}
  void onGoaway(StreamId, H2Error) override {}
  std::span<uint8_t> reserve(size_t min) override {
    largest = std::max(largest, min);
    return std::span(out).subspan(written);
  }
  void commit(size_t n) override { written += n; }
};

}  // namespace

TEST_CASE("a client whose stream ids ran out takes no more streams") {
  Owner owner;
  OwnH2 h2(false, {}, {owner, owner, owner.windows}, kStreamIdMax - 2);
  const auto last = h2.request({"a:1", {}});
  REQUIRE(last.ok());
  CHECK(last.value() == kStreamIdMax - 2);
  CHECK(h2.takesStreams());
  const auto very = h2.request({"a:1", {}});
  REQUIRE(very.ok());
  CHECK(very.value() == kStreamIdMax);
  CHECK_FALSE(h2.takesStreams());
  CHECK(h2.request({"a:1", {}}).status().code() == Code::kUnavailable);
}

TEST_CASE("payload is written where it will be sent from, and nothing is written for none") {
  Owner owner;
  OwnH2 h2(false, {}, {owner, owner, owner.windows});
  const StreamId id = h2.request({"a:1", {}}).value();
  const size_t before = owner.written;
  const std::span<uint8_t> room = h2.reserve(id, 100);
  CHECK(room.data() == owner.out.data() + before + kFrameHeaderBytes);
  CHECK(room.size() == 100);
  CHECK(owner.written == before);
  h2.commit(id, 0);
  CHECK(owner.written == before);
  h2.commit(id, h2.reserve(id, 100).first(40).size());
  CHECK(owner.written == before + kFrameHeaderBytes + 40);
  CHECK(parseFrameHeader(owner.out.data() + before).length == 40);
  CHECK(owner.largest <= ByteWriter::kReserveBytesMax);
}

TEST_CASE("a request longer than a frame goes out in pieces") {
  Owner owner;
  OwnH2 h2(false, {}, {owner, owner, owner.windows});
  const size_t before = owner.written;
  REQUIRE(h2.request({"a:1", {{"long", std::string(40'000, 'v')}}}).ok());
  std::vector<std::pair<uint8_t, uint8_t>> frames;
  for (size_t at = before; at < owner.written;) {
    const FrameHeader frame = parseFrameHeader(owner.out.data() + at);
    CHECK(frame.length <= kFrameBytesDefault);
    frames.emplace_back(frame.type, frame.flags);
    at += kFrameHeaderBytes + frame.length;
  }
  const uint8_t continuation = static_cast<uint8_t>(FrameType::kContinuation);
  REQUIRE(frames.size() == 3);
  CHECK(frames[0] == std::pair{static_cast<uint8_t>(FrameType::kHeaders), uint8_t{0}});
  CHECK(frames[1] == std::pair{continuation, uint8_t{0}});
  CHECK(frames[2] == std::pair{continuation, kFlagEndHeaders});
}

TEST_CASE("a request longer than the peer's limit is not sent") {
  Owner owner;
  OwnH2 h2(false, {}, {owner, owner, owner.windows});
  const ConnectRequest request{"a:1", {{"x", "yz"}}};
  for (const bool fits : {true, false}) {
    Bytes settings(kFrameHeaderBytes + 6);
    putFrameHeader(settings.data(), FrameType::kSettings, 0, 0, 6);
    put16(settings.data() + 9, static_cast<uint16_t>(Setting::kMaxHeaderListSize));
    put32(settings.data() + 11, static_cast<uint32_t>(listBytesOf(request) - (fits ? 0 : 1)));
    REQUIRE(h2.receive(settings, 1).ok());
    const size_t before = owner.written;
    CHECK(h2.request(request).ok() == fits);
    CHECK((owner.written > before) == fits);
  }
}

TEST_CASE("so many resets are remembered that no late frame of theirs is blamed on the peer") {
  Owner owner;
  H2Limits limits;
  limits.concurrentStreamsMax = 1000;
  OwnH2 h2(true, limits, {owner, owner, owner.windows});
  Bytes hello(kPreface, kPreface + kPrefaceBytes);
  hello.insert(hello.end(), {0, 0, 0, 4, 0, 0, 0, 0, 0});
  REQUIRE(h2.receive(hello, 1).ok());
  StreamId id = 1;
  for (int i = 0; i < 600; i++, id += 2) {
    const Bytes block = encodeRequest({"a:1", {}}, i == 0);
    Bytes bytes(kFrameHeaderBytes);
    putFrameHeader(bytes.data(), FrameType::kHeaders, kFlagEndHeaders, id, block.size());
    bytes.insert(bytes.end(), block.begin(), block.end());
    REQUIRE(h2.receive(bytes, 1).ok());
    h2.reset(id, H2Error::kCancel);
  }
  const size_t before = owner.written;
  for (StreamId late = 1; late < id; late += 2) {
    Bytes data(kFrameHeaderBytes + 1);
    putFrameHeader(data.data(), FrameType::kData, 0, late, 1);
    REQUIRE(h2.receive(data, 1).ok());
  }
  CHECK(owner.written == before);
}

TEST_CASE("after a while, DATA on a stream that is closed is refused") {
  Owner owner;
  OwnH2 h2(true, {}, {owner, owner, owner.windows});
  Bytes hello(kPreface, kPreface + kPrefaceBytes);
  hello.insert(hello.end(), {0, 0, 0, 4, 0, 0, 0, 0, 0});
  const Bytes block = encodeRequest({"a:1", {}}, true);
  hello.resize(hello.size() + kFrameHeaderBytes);
  putFrameHeader(&hello[hello.size() - 9], FrameType::kHeaders, kFlagEndHeaders, 1, block.size());
  hello.insert(hello.end(), block.begin(), block.end());
  REQUIRE(h2.receive(hello, 1).ok());
  h2.reset(1, H2Error::kCancel);
  Bytes data(kFrameHeaderBytes + 1);
  putFrameHeader(data.data(), FrameType::kData, 0, 1, 1);
  for (int i = 0; i < 3; i++) {
    const size_t before = owner.written;
    REQUIRE(h2.receive(data, 1).ok());
    CHECK((owner.written > before) == (i == 2));
    REQUIRE(h2.tick(1).ok());
  }
}
