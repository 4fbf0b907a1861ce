// SPDX-License-Identifier: Apache-2.0
// What each row of HTTP/2 costs, both ends together, without sockets and TLS: time of a request
// that carries one small payload each way, of a frame of bulk, and memory of an idle connection.
// Best of five.
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/check.h"
#include "base/clock.h"
#include "http/h2.h"

namespace {

using namespace weft;
using namespace weft::http;

class End final : public H2Events, public ByteWriter {
 public:
  End(H2Row row, bool server)
      : h2((server ? newH2Server : newH2Client)(row, {}, {*this, *this, windows_})) {}

  void onRequest(StreamId id, std::string_view, const ConnectRequest&) override {
    h2->respond(id, 200, {}, false);
  }
  void onResponse(StreamId, int, const std::vector<Header>&) override {}
  void onData(StreamId id, std::span<uint8_t> data) override {
    received += data.size();
    h2->consumed(id, data.size());
    if (echoes) {
      send(id, data.size());
    }
  }
  void onEnd(StreamId id) override { h2->end(id); }
  void onReset(StreamId, H2Error) override { CHECK(false); }
  void onSendable(StreamId) override {}
  void onGoaway(StreamId, H2Error) override {}
  std::span<uint8_t> reserve(size_t min) override { return out.room(std::max(min, size_t{16384})); }
  void commit(size_t n) override { out.commit(n); }

  size_t send(StreamId id, size_t n) {
    const std::span<uint8_t> room = h2->reserve(id, n);
    h2->commit(id, room.size());
    return room.size();
  }

  Buffer out;
  size_t received = 0;
  bool echoes = false;

 private:
  UnboundedWindows windows_;

 public:
  std::unique_ptr<H2> h2;
};

struct Pair {
  End client;
  End server;

  explicit Pair(H2Row row) : client(row, false), server(row, true) { pump(); }
  static bool move(End& from, End& to) {
    from.h2->produce();
    const std::span<uint8_t> bytes = from.out.bytes();
    if (bytes.empty()) {
      return false;
    }
    CHECK(to.h2->receive(bytes, monotonicMicros()).ok());
    from.out.consume(bytes.size());
    return true;
  }
  void pump() {
    while (move(client, server) || move(server, client)) {
    }
  }
  StreamId open() {
    return client.h2
        ->request({"10.0.0.2:8080",
                   {{"baggage",
                     "k8s.cluster.name=c1,k8s.namespace.name=shop,"
                     "k8s.deployment.name=cart,service.name=cart,service.version=v1"},
                    {"forwarded", "for=\"10.0.0.1:43210\""},
                    {"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}}})
        .value();
  }
};

double nanosOf(size_t times, const std::function<void()>& work) {
  double best = 1e18;
  for (int i = 0; i < 5; i++) {
    const uint64_t start = monotonicMicros();
    work();
    best = std::min(
        best, static_cast<double>(monotonicMicros() - start) * 1000 / static_cast<double>(times));
  }
  return best;
}

void measure(const char* name, H2Row row) {
  constexpr size_t kRequests = 20'000;
  constexpr size_t kMessages = 200'000;
  constexpr size_t kFrames = 100'000;
  constexpr size_t kConnections = 1'000;
  Pair pair(row);
  pair.server.echoes = true;
  const double request = nanosOf(kRequests, [&] {
    for (size_t i = 0; i < kRequests; i++) {
      const StreamId id = pair.open();
      pair.client.send(id, 64);
      pair.pump();
      pair.client.h2->end(id);
      pair.pump();
      if (i % 500 == 0) {
        CHECK(pair.client.h2->tick(monotonicMicros()).ok());
        CHECK(pair.server.h2->tick(monotonicMicros()).ok());
      }
    }
  });
  const StreamId id = pair.open();
  pair.pump();
  const double message = nanosOf(kMessages, [&] {
    for (size_t i = 0; i < kMessages; i++) {
      pair.client.send(id, 64);
      pair.pump();
    }
  });
  pair.server.echoes = false;
  const double frame = nanosOf(kFrames, [&] {
    for (size_t i = 0; i < kFrames; i++) {
      while (pair.client.send(id, 16375) == 0) {
        pair.pump();
      }
    }
    pair.pump();
  });
  const size_t before = mallinfo2().uordblks;
  std::vector<std::unique_ptr<Pair>> idle;
  for (size_t i = 0; i < kConnections; i++) {
    idle.push_back(std::make_unique<Pair>(row));
    idle.back()->open();
    idle.back()->pump();
    idle.back()->client.out.shrink();
    idle.back()->server.out.shrink();
  }
  const size_t bytes = (mallinfo2().uordblks - before) / kConnections / 2 - sizeof(End);
  std::printf(
      "%-8s request %6.0f ns   64 B there and back %5.0f ns   16 KiB frame %5.0f ns   "
      "idle connection with a stream %zu B an end\n",
      name, request, message, frame, bytes);
}

}  // namespace

int main() {
  measure("own", H2Row::kOwn);
  measure("nghttp2", H2Row::kNgHttp2);
  return 0;
}
