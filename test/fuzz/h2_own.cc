// SPDX-License-Identifier: Apache-2.0
// Frames of a client, most of them well made, before a server of our own framing: once whole, once
// cut into pieces. Both must see and say the same, and see no request that nghttp2 refuses.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "http/h2.h"
#include "http/h2_frames.h"

namespace {

using namespace weft::http;
using Bytes = std::vector<uint8_t>;

void need(bool condition) {
  if (!condition) {
    std::abort();
  }
}

H2Limits smallLimits() {
  H2Limits limits;
  limits.streamWindowBytes = 70'000;
  limits.streamWindowBytesMax = 200'000;
  limits.connectionWindowBytes = 70'000;
  limits.concurrentStreamsMax = 6;
  limits.headerListBytesMax = 400;
  limits.controlFramesPerTickMax = 30;
  return limits;
}

// The server's owner: writes down what it sees. Everything it does is decided by that.
class Server final : public H2Events, public ByteWriter {
 public:
  explicit Server(H2Row row) : h2_(newH2Server(row, smallLimits(), {*this, *this, windows_})) {}

  void onRequest(StreamId id, std::string_view method, const ConnectRequest& request) override {
    say(id, "request " + std::string(method) + " " + request.authority);
    for (const Header& header : request.headers) {
      say(id, header.name + "=" + header.value);
    }
    requests[id] = request.authority;
    if (id % 8 == 3) {
      h2_->reset(id, H2Error::kCancel);
    } else {
      h2_->respond(id, method == "CONNECT" ? 200 : 400, {{"x", "y"}}, id % 8 == 5);
      onSendable(id);
    }
  }
  void onResponse(StreamId, int, const std::vector<Header>&) override { std::abort(); }
  void onData(StreamId id, std::span<uint8_t> data) override {
    payload_[id].append(data.begin(), data.end());
    unconsumed_[id] += data.size();
    need(unconsumed_[id] <= smallLimits().streamWindowBytesMax);
  }
  void onEnd(StreamId id) override {
    say(id, "end");
    h2_->end(id);
  }
  void onReset(StreamId id, H2Error code) override {
    say(id, "reset " + std::to_string(static_cast<uint32_t>(code)));
    unconsumed_.erase(id);
  }
  void onSendable(StreamId id) override {
    const std::span<uint8_t> room = h2_->reserve(id, 3000);
    std::fill(room.begin(), room.end(), uint8_t{'s'});
    h2_->commit(id, room.size());
  }
  void onGoaway(StreamId lastId, H2Error) override {
    leaving = true;
    say(0, "goaway " + std::to_string(lastId));
  }
  std::span<uint8_t> reserve(size_t min) override {
    output.resize(written_ + std::max<size_t>(min, 64));
    return std::span(output).subspan(written_);
  }
  void commit(size_t n) override { written_ += n; }

  void receive(Bytes bytes) {
    if (!failed) {
      failed = !h2_->receive(bytes, nowMicros_).ok();
    }
  }
  // Between two frames.
  void turn(uint8_t what) {
    if (failed) {
      return;
    }
    h2_->produce();
    nowMicros_ += what;
    for (auto& [id, n] : unconsumed_) {
      if (what % 4 != 0) {
        h2_->consumed(id, std::exchange(n, 0));
      }
    }
    if (what == 77) {
      h2_->drain();
    } else if (what == 78) {
      (void)h2_->tick(nowMicros_);
    }
    output.resize(written_);
  }
  std::string trace() const {
    std::string all = trace_;
    for (const auto& [id, bytes] : payload_) {
      all += std::to_string(id) + ": " + bytes + "\n";
    }
    return all;
  }

  std::map<StreamId, std::string> requests;
  Bytes output;
  bool failed = false;
  bool leaving = false;  // nghttp2 takes no requests of a client that said GOAWAY

 private:
  void say(StreamId id, const std::string& what) {
    trace_ +=
        std::to_string(id) + " " + what + " after " + std::to_string(payload_[id].size()) + "\n";
  }

  UnboundedWindows windows_;
  size_t written_ = 0;
  uint64_t nowMicros_ = 1;
  std::string trace_;
  std::map<StreamId, std::string> payload_;
  std::map<StreamId, size_t> unconsumed_;
  std::unique_ptr<H2> h2_;
};

// Makes frames as the input says.
class Client {
 public:
  explicit Client(std::span<const uint8_t> script) : script_(script) {}

  bool done() const { return script_.empty(); }
  uint8_t next() {
    if (script_.empty()) {
      return 0;
    }
    const uint8_t byte = script_.front();
    script_ = script_.subspan(1);
    return byte;
  }
  Bytes frame() {
    const uint8_t choice = next();
    switch (choice % 16) {
      case 0:
      case 1:
      case 2:
        newest_ += 2;
        return headers(newest_);
      case 3:
        return headers(someId());
      case 4:
      case 5:
      case 6:
        return data();
      case 7:
        return number(FrameType::kWindowUpdate, next() % 4 == 0 ? 0 : someId());
      case 8:
        return number(FrameType::kRstStream, someId());
      case 9:
        return settings();
      case 10:
        return make(FrameType::kPing, next() & 1, 0, Bytes(8, next()));
      case 11:
        return make(FrameType::kGoaway, 0, 0, Bytes(8, 0));
      case 12:
        return make(FrameType::kPriority, 0, someId(), Bytes(5, 1));
      case 13:
        return make(static_cast<FrameType>(0x40 + next()), next(), someId(), Bytes(next(), 2));
      default:  // anything
        return make(static_cast<FrameType>(next() % 12), next(), next() % 12,
                    Bytes(next(), next()));
    }
  }

 private:
  StreamId someId() { return newest_ - 2 * (next() % 4); }
  static Bytes make(FrameType type, uint8_t flags, StreamId id, const Bytes& payload) {
    Bytes bytes(kFrameHeaderBytes);
    putFrameHeader(bytes.data(), type, flags, std::max(id, 0), payload.size());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
  }
  Bytes number(FrameType type, StreamId id) {
    const uint8_t kind = next();
    Bytes payload = {0, 0, next(), next()};
    if (kind % 16 == 0) {
      payload[0] = 0x7f;
    }
    return make(type, 0, id, payload);
  }
  Bytes settings() {
    Bytes payload;
    for (uint8_t n = next() % 4; n > 0; n--) {
      const uint8_t size = next();
      payload.insert(payload.end(), {0, static_cast<uint8_t>(next() % 9), 0, 0,
                                     static_cast<uint8_t>(size % 5 == 0 ? 64 : 0), size});
    }
    return make(FrameType::kSettings, payload.empty() ? next() & 1 : 0, 0, payload);
  }
  Bytes data() {
    const size_t n = size_t{next()} * (next() % 4 == 0 ? 64 : 1);
    Bytes payload(n, 'c');
    uint8_t flags = next() % 4 == 0 ? kFlagEndStream : 0;
    if (next() % 4 == 0) {
      flags |= kFlagPadded;
      const uint8_t padding = next();
      payload.insert(payload.begin(), padding);
      payload.resize(payload.size() + (next() % 8 == 0 ? 0 : padding));
    }
    return make(FrameType::kData, flags, someId(), payload);
  }
  void field(Bytes& block, std::string_view name, std::string_view value) {
    block.push_back(next() % 8 == 0 ? 0x40 : 0);  // now and then into the table
    for (const std::string_view text : {name, value}) {
      block.push_back(static_cast<uint8_t>(text.size()));
      block.insert(block.end(), text.begin(), text.end());
    }
  }
  Bytes block() {
    static constexpr std::string_view kNames[] = {
        ":method", ":authority", ":scheme",    ":path", ":protocol",      ":status",
        "baggage", "te",         "connection", "X",     "content-length", ""};
    static constexpr std::string_view kValues[] = {"CONNECT", "GET",      "10.0.0.2:80", "https",
                                                   "/",       "trailers", "200",         "a b",
                                                   " a",      "\n",       "5",           ""};
    Bytes out;
    const uint8_t kind = next();
    if (kind % 4 != 0) {
      field(out, ":method", "CONNECT");
      field(out, ":authority", "10.0.0.2:80");
    }
    for (uint8_t n = kind / 4 % 4; n > 0; n--) {
      field(out, kNames[next() % std::size(kNames)], kValues[next() % std::size(kValues)]);
    }
    if (kind % 32 == 31) {
      field(out, "long", std::string(next() % 120, 'v'));
    }
    if (kind >= 250) {
      out.push_back(next());  // broken, or of the tables
    }
    return out;
  }
  Bytes headers(StreamId id) {
    Bytes rest = block();
    const uint8_t shape = next();
    uint8_t flags = shape % 4 == 0 ? kFlagEndStream : 0;
    Bytes first;
    if (shape / 4 % 8 == 1) {
      flags |= kFlagPriority;
      first.assign(5, 0);
    }
    const size_t cut = shape / 32 % 4 == 1 ? next() % (rest.size() + 1) : rest.size();
    first.insert(first.end(), rest.begin(), rest.begin() + static_cast<long>(cut));
    rest.erase(rest.begin(), rest.begin() + static_cast<long>(cut));
    if (shape / 128 == 1) {
      flags |= kFlagPadded;
      const uint8_t padding = next() % 16;
      first.insert(first.begin(), padding);
      first.resize(first.size() + padding);
    }
    if (rest.empty()) {
      return make(FrameType::kHeaders, flags | kFlagEndHeaders, id, first);
    }
    Bytes all = make(FrameType::kHeaders, flags, id, first);
    const Bytes more = make(FrameType::kContinuation, kFlagEndHeaders, id, rest);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  std::span<const uint8_t> script_;
  StreamId newest_ = -1;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Client client({data, size});
  Server whole(H2Row::kOwn);
  Server pieces(H2Row::kOwn);
  Server library(H2Row::kNgHttp2);
  Bytes bytes(kPreface, kPreface + kPrefaceBytes);
  bytes.insert(bytes.end(), {0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0});
  size_t grain = 1;
  for (bool more = true; more;) {
    whole.receive(bytes);
    library.receive(bytes);
    for (size_t at = 0; at < bytes.size(); at += grain) {
      const size_t n = std::min(grain, bytes.size() - at);
      pieces.receive(
          Bytes(bytes.begin() + static_cast<long>(at), bytes.begin() + static_cast<long>(at + n)));
    }
    const uint8_t turn = client.next();
    for (Server* server : {&whole, &pieces, &library}) {
      server->turn(turn);
    }
    need(whole.failed == pieces.failed);
    if (!library.failed && !library.leaving) {
      for (const auto& [id, authority] : whole.requests) {
        need(library.requests.count(id) == 1 && library.requests[id] == authority);
      }
    }
    more = !client.done() && !whole.failed;
    grain = 1 + client.next() % 40;
    bytes = client.frame();
  }
  need(whole.trace() == pieces.trace());
  need(whole.output == pieces.output);
  return 0;
}
