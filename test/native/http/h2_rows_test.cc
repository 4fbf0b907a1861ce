// SPDX-License-Identifier: Apache-2.0
// Random owners over each pair of rows: what they see of each other may not depend on who frames.
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "http/h2.h"

#include <doctest/doctest.h>
// clang-format on

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <utility>

using namespace weft::http;

namespace {

using Bytes = std::vector<uint8_t>;

// What one end knows of one stream.
struct Seen {
  std::string events;
  size_t arrived = 0;
  size_t unconsumed = 0;
  size_t sent = 0;
  size_t wanted = 0;
  bool ending = false;
  bool over = false;
};

// What byte `at` of a stream is, from one end.
uint8_t byteOf(bool server, StreamId id, size_t at) {
  return static_cast<uint8_t>(at * 31 + at / 251 + static_cast<size_t>(id) * 7 + (server ? 99 : 0));
}

class End final : public H2Events, public ByteWriter {
 public:
  End(H2Row row, bool server, const H2Limits& limits) : server_(server) {
    h2 = (server ? newH2Server : newH2Client)(row, limits, {*this, *this, windows_});
  }

  void onRequest(StreamId id, std::string_view method, const ConnectRequest& request) override {
    streams[id].events += std::string(method) + " " + request.authority;
    for (const Header& header : request.headers) {
      streams[id].events += " " + header.name + "=" + header.value;
    }
    // Every fifth is refused, as an owner does that does not want it.
    if (id % 10 == 9) {
      h2->respond(id, 503, {}, true);
      streams[id].ending = true;
    } else {
      h2->respond(id, 200, {{"baggage", "b"}}, false);
    }
  }
  void onResponse(StreamId id, int status, const std::vector<Header>& headers) override {
    streams[id].events += " " + std::to_string(status) + "/" + std::to_string(headers.size());
  }
  void onData(StreamId id, std::span<uint8_t> data) override {
    Seen& seen = streams[id];
    REQUIRE_FALSE(seen.over);
    for (const uint8_t byte : data) {
      if (byte != byteOf(!server_, id, seen.arrived++)) {
        FAIL("a byte is not what was sent");
      }
    }
    seen.unconsumed += data.size();
  }
  void onEnd(StreamId id) override { streams[id].events += " end"; }
  void onReset(StreamId id, H2Error code) override {
    streams[id].events += " reset" + std::to_string(static_cast<uint32_t>(code));
    streams[id].over = true;
  }
  void onSendable(StreamId id) override { push(id); }
  void onGoaway(StreamId, H2Error) override { goaways++; }
  std::span<uint8_t> reserve(size_t min) override {
    out_.resize(written_ + min + 500);
    return std::span(out_).subspan(written_);
  }
  void commit(size_t n) override { written_ += n; }

  void push(StreamId id) {
    Seen& seen = streams[id];
    while (!seen.over && seen.sent < seen.wanted) {
      const std::span<uint8_t> room = h2->reserve(id, seen.wanted - seen.sent);
      if (room.empty()) {
        return;
      }
      for (uint8_t& byte : room) {
        byte = byteOf(server_, id, seen.sent++);
      }
      h2->commit(id, room.size());
    }
    if (seen.ending) {
      h2->end(id);
    }
  }
  void consumeAll(StreamId id) { h2->consumed(id, std::exchange(streams[id].unconsumed, 0)); }
  Bytes take() {
    while (h2->wantsProduce()) {
      h2->produce();
    }
    out_.resize(std::exchange(written_, 0));
    return std::exchange(out_, {});
  }

  std::map<StreamId, Seen> streams;
  int goaways = 0;

 private:
  const bool server_;
  UnboundedWindows windows_;
  Bytes out_;
  size_t written_ = 0;

 public:
  std::unique_ptr<H2> h2;  // after all it talks to, which has to outlive it
};

constexpr uint32_t kStreams = 16;

struct World {
  End client;
  End server;
  uint64_t nowMicros = 1000;

  World(H2Row clients, H2Row servers, const H2Limits& limits)
      : client(clients, false, limits), server(servers, true, limits) {}

  bool move(bool up, std::mt19937& random) {
    End& from = up ? client : server;
    End& to = up ? server : client;
    Bytes bytes = from.take();
    for (size_t at = 0; at < bytes.size();) {
      const size_t n = std::min<size_t>(1 + random() % 5000, bytes.size() - at);
      REQUIRE(to.h2->receive({bytes.data() + at, n}, nowMicros).ok());
      at += n;
    }
    return !bytes.empty();
  }
  void step(std::mt19937& random) {
    nowMicros += random() % 1000;
    const bool up = random() % 2 == 0;
    End& end = up ? client : server;
    const uint32_t choice = random() % 16;
    const size_t amount = random() % 3 == 0 ? random() % 200'000 : random() % 100;
    const uint32_t which = random();
    std::mt19937 split(random());
    if (choice < 4) {
      move(up, split);
      return;
    }
    if (choice == 4) {
      if (client.streams.size() == kStreams) {
        return;
      }
      const auto id = client.h2->request({"10.0.0.2:" + std::to_string(amount), {{"n", "v"}}});
      if (id.ok()) {
        client.streams[id.value()].events = "asked";
      }
      return;
    }
    // Chosen without a look at what there is, which may depend on the rows for a while.
    const auto stream = end.streams.find(static_cast<StreamId>(1 + 2 * (which % kStreams)));
    if (stream == end.streams.end() || stream->second.over) {
      return;
    }
    const StreamId id = stream->first;
    Seen& seen = stream->second;
    if (choice < 9 && !seen.ending) {
      seen.wanted += amount;
      end.push(id);
    } else if (choice < 13) {
      end.consumeAll(id);
    } else if (choice == 13) {
      seen.ending = true;
      end.push(id);
    } else if (choice == 14 && which % 8 == 0) {
      end.h2->reset(id, H2Error::kConnectError);
      seen.over = true;
      seen.events += " dropped";
    }
  }
  /// Lets all that is under way arrive, and all streams end that still can.
  void settle(std::mt19937& random) {
    for (End* end : {&client, &server}) {
      for (auto& [id, seen] : end->streams) {
        seen.ending = true;
        if (!seen.over) {
          end->push(id);
        }
      }
    }
    for (bool moved = true; moved;) {
      moved = move(true, random);
      moved = move(false, random) || moved;
      for (End* end : {&client, &server}) {
        for (auto& [id, seen] : end->streams) {
          if (seen.unconsumed > 0) {
            end->consumeAll(id);
            moved = true;
          }
          if (!seen.ending) {
            seen.ending = true;
            end->push(id);
            moved = true;
          }
        }
      }
    }
  }
  /// What both ends saw of the streams that neither of them dropped.
  std::map<StreamId, std::string> account() {
    std::map<StreamId, std::string> all;
    for (const auto& [id, ours] : client.streams) {
      const Seen& theirs = server.streams[id];
      if (ours.events.find("dropped") == std::string::npos &&
          theirs.events.find("dropped") == std::string::npos) {
        all[id] = ours.events + " " + std::to_string(ours.arrived) + " | " + theirs.events + " " +
                  std::to_string(theirs.arrived);
        CHECK(ours.arrived == theirs.sent);
        CHECK(theirs.arrived == ours.sent);
      }
    }
    return all;
  }
};

}  // namespace

TEST_CASE("owners see the same, whichever rows frame for them") {
  H2Limits limits;
  limits.concurrentStreamsMax = kStreams;
  limits.connectionWindowBytes = 100'000;
  limits.streamWindowBytesMax = 300'000;
  size_t compared = 0;
  for (uint32_t seed = 1; seed <= 30; seed++) {
    CAPTURE(seed);
    std::map<StreamId, std::string> expected;
    for (int rows = 0; rows < 4; rows++) {
      World world(rows % 2 == 0 ? H2Row::kNgHttp2 : H2Row::kOwn,
                  rows / 2 == 0 ? H2Row::kNgHttp2 : H2Row::kOwn, limits);
      std::mt19937 random(seed);
      for (int i = 0; i < 400; i++) {
        world.step(random);
      }
      world.settle(random);
      CHECK(world.client.h2->openStreams() == 0);
      CHECK(world.server.h2->openStreams() == 0);
      auto seen = world.account();
      compared += seen.size();
      if (rows == 0) {
        expected = seen;
      } else {
        CHECK(seen.size() == expected.size());
        for (const auto& [id, what] : expected) {
          CAPTURE(id);
          CHECK(seen[id] == what);
        }
      }
    }
  }
  CHECK(compared > 400);
}
