// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "http/h2.h"

// An owner of a connection, driven by the input: bytes from the peer and calls of its own mix. It
// holds the connection to what H2Events and H2 promise.
namespace {

using weft::http::ConnectRequest;
using weft::http::H2;
using weft::http::H2Error;
using weft::http::H2Limits;
using weft::http::Header;
using weft::http::StreamId;

void need(bool condition) {
  if (!condition) {
    std::abort();
  }
}

H2Limits smallLimits() {
  H2Limits limits;
  limits.streamWindowBytes = 1000;
  limits.streamWindowBytesMax = 4000;
  limits.connectionWindowBytes = 70'000;
  limits.connectionWindowBytesMax = 70'000;
  limits.concurrentStreamsMax = 5;
  limits.headerListBytesMax = 300;
  limits.controlFramesPerTickMax = 20;
  return limits;
}

struct Stream {
  bool announced = false;
  bool ended = false;
  size_t unconsumed = 0;
};

class Owner final : public weft::http::H2Events, public weft::http::ByteWriter {
 public:
  Owner(weft::http::H2Row row, bool server) : server_(server) {
    const auto make = server ? weft::http::newH2Server : weft::http::newH2Client;
    h2_ = make(row, smallLimits(), {*this, *this, windows_});
  }

  void onRequest(StreamId id, std::string_view method, const ConnectRequest& request) override {
    need(server_ && id % 2 == 1 && streams_.count(id) == 0 && !method.empty());
    need(method != "CONNECT" || !request.authority.empty());
    size_t bytes = 0;
    for (const Header& header : request.headers) {
      need(!header.name.empty() && header.name.front() != ':');
      bytes += header.name.size() + header.value.size();
    }
    need(bytes <= smallLimits().headerListBytesMax);
    streams_[id] = Stream();
    act(id);
  }
  void onResponse(StreamId id, int status, const std::vector<Header>&) override {
    need(!server_ && status >= 200 && status <= 999 && !of(id).announced);
    of(id).announced = true;
    act(id);
  }
  void onData(StreamId id, std::span<uint8_t> data) override {
    need(!data.empty() && data.data() >= input_.data() &&
         data.data() + data.size() <= input_.data() + input_.size());
    Stream& stream = of(id);
    need(!stream.ended);
    stream.unconsumed += data.size();
    // A peer may use 64 KiB of window before it has seen our SETTINGS.
    need(stream.unconsumed <= 65'535);
    act(id);
  }
  void onEnd(StreamId id) override {
    need(!of(id).ended);
    of(id).ended = true;
    act(id);
  }
  void onReset(StreamId id, H2Error) override {
    need(streams_.erase(id) == 1);
    need(h2_->reserve(id, 1).empty());
  }
  void onSendable(StreamId id) override {
    of(id);
    need(!h2_->reserve(id, 1).empty());
  }
  void onGoaway(StreamId, H2Error) override { need(!h2_->takesStreams()); }
  std::span<uint8_t> reserve(size_t min) override {
    need(min <= kReserveBytesMax);
    return room_;
  }
  void commit(size_t n) override {
    need(n <= room_.size());
    written_ += n;
  }

  // An operation takes one byte, and some a second: how much.
  void run(std::span<const uint8_t> script) {
    script_ = script;
    while (!script_.empty() && !failed_) {
      step(next());
    }
    h2_->produce();
    need(written_ < (64 << 20));
  }

 private:
  Stream& of(StreamId id) {
    const auto found = streams_.find(id);
    need(found != streams_.end());
    return found->second;
  }
  uint8_t next() {
    if (script_.empty()) {
      return 0;
    }
    const uint8_t byte = script_.front();
    script_ = script_.subspan(1);
    return byte;
  }
  // The stream chosen by `byte`: an open one, or now and then one that is not.
  StreamId pick(uint8_t byte) const {
    if (streams_.empty() || byte == 255) {
      return byte;
    }
    return std::next(streams_.begin(), byte % static_cast<long>(streams_.size()))->first;
  }
  // From within an event: whatever the next byte says.
  void act(StreamId id) {
    switch (next() % 8) {
      case 0:
        consume(id);
        break;
      case 1:
        drop(id);
        break;
      case 2:
        send(id, 200);
        break;
      case 3:
        h2_->end(id);
        break;
      case 4:
        respond(id);
        break;
      default:
        break;
    }
  }
  void consume(StreamId id) {
    const auto found = streams_.find(id);
    if (found != streams_.end()) {
      h2_->consumed(id, std::exchange(found->second.unconsumed, 0));
    }
  }
  void drop(StreamId id) {
    h2_->reset(id, H2Error::kCancel);
    streams_.erase(id);
  }
  void send(StreamId id, size_t want) {
    const std::span<uint8_t> room = h2_->reserve(id, want);
    need(room.size() <= want);
    std::fill(room.begin(), room.end(), uint8_t{'x'});
    if (!room.empty()) {
      h2_->commit(id, room.size() - want % 2 % room.size());
    }
  }
  void respond(StreamId id) {
    if (server_) {
      h2_->respond(id, 200, {{"baggage", "a=b"}}, false);
    }
  }
  void open() {
    if (server_) {
      return;
    }
    const auto id = h2_->request({"10.0.0.2:80", {{"baggage", "a=b"}}});
    if (id.ok()) {
      need(streams_.emplace(id.value(), Stream()).second);
    }
  }
  void receive(size_t n) {
    n = std::min(n, script_.size());
    input_.assign(script_.begin(), script_.begin() + static_cast<long>(n));
    script_ = script_.subspan(n);
    feed();
  }
  // A whole frame: its header's length is made to fit.
  void receiveFrame() {
    const size_t length = next();
    const uint8_t type = next() % 11;
    const uint8_t flags = next();
    const uint8_t id = next() % 16;
    input_ = {0, 0, static_cast<uint8_t>(std::min(length, script_.size())), type, flags, 0, 0,
              0, id};
    const size_t n = std::min(length, script_.size());
    input_.insert(input_.end(), script_.begin(), script_.begin() + static_cast<long>(n));
    script_ = script_.subspan(n);
    feed();
  }
  void feed() {
    failed_ = !h2_->receive(input_, nowMicros_).ok();
    need(h2_->openStreams() <= (server_ ? smallLimits().concurrentStreamsMax + 1 : 1000));
    if (failed_) {
      need(h2_->openStreams() == 0 && !h2_->takesStreams());
      need(!h2_->receive(input_, nowMicros_).ok());
    }
  }
  void greet() {
    const char* preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    input_.clear();
    if (server_) {
      input_.assign(preface, preface + std::strlen(preface));
    }
    input_.insert(input_.end(), {0, 0, 0, 4, 0, 0, 0, 0, 0});
    feed();
  }
  void step(uint8_t operation) {
    switch (operation % 16) {
      case 0:
        greet();
        break;
      case 1:
      case 2:
        receive(next());
        break;
      case 3:
      case 4:
      case 5:
      case 6:
        receiveFrame();
        break;
      case 7:
        open();
        break;
      case 8:
        respond(pick(next()));
        break;
      case 9:
        send(pick(next()), size_t{64} * next());
        break;
      case 10:
        h2_->end(pick(next()));
        break;
      case 11:
        drop(pick(next()));
        break;
      case 12:
        consume(pick(next()));
        break;
      case 13:
        server_&& next() % 2 == 0 ? h2_->drain() : h2_->goaway(H2Error::kNoError);
        break;
      case 14:
        nowMicros_ += uint64_t{100'000} * next();
        failed_ = !h2_->tick(nowMicros_).ok();
        break;
      default:
        h2_->produce();
        break;
    }
  }

  const bool server_;
  weft::http::UnboundedWindows windows_;
  std::vector<uint8_t> room_ = std::vector<uint8_t>(kReserveBytesMax);
  uint64_t nowMicros_ = 1;
  std::unique_ptr<H2> h2_;
  std::map<StreamId, Stream> streams_;
  std::vector<uint8_t> input_;
  std::span<const uint8_t> script_;
  size_t written_ = 0;
  bool failed_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) {
    for (const auto row : {weft::http::H2Row::kOwn, weft::http::H2Row::kNgHttp2}) {
      Owner(row, data[0] % 2 == 0).run({data + 1, size - 1});
    }
  }
  return 0;
}
