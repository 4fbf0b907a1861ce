// SPDX-License-Identifier: Apache-2.0
// What a full mutual handshake costs, both ends in one thread over memory, with so many under way
// at a time: computed by the TLS library (off), on fibers (scalar), and in lanes (avx512).
//
//   bench_handshakes [rounds [handshakes]]   one line of JSON for each way, modes interleaved
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "../../test/native/tls/test_ca.h"
#include "base/clock.h"
#include "crypto/mode.h"
#include "tls/session.h"

namespace {

using weft::Status;
using weft::crypto::Batch;
using weft::crypto::Mode;
using weft::test::kNow;
using weft::test::need;
using weft::test::TestCa;
using weft::tls::Session;
using weft::tls::SessionContext;

constexpr const char* kClientId = "spiffe://td/ns/a/sa/client";
constexpr const char* kServerId = "spiffe://td/ns/a/sa/server";
constexpr uint64_t kSettleNanoseconds = 1'000'000;  // as a worker's turn
/// Names the way to the server, which is known not to speak the hybrid.
constexpr const char* kClassicalPeer = "server";

double secondsOf(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Way {
  bool leavesKnown;
  size_t atOnce;
};

struct Identities {
  TestCa ca;
  std::shared_ptr<const weft::tls::Identity> client = ca.identity(kClientId);
  std::shared_ptr<const weft::tls::Identity> server = ca.identity(kServerId);
};

struct End final : weft::tls::PlainSink, weft::tls::SessionOwner {
  std::unique_ptr<Session> session;
  bool done = false;

  Status onHandshakeDone() override {
    done = true;
    return {};
  }
  Status onPlain(std::span<uint8_t>) override { return {}; }
  void onSessionReady() override { receive({}); }
  void receive(std::span<uint8_t> bytes) {
    static std::vector<uint8_t> scratch(512 << 10);
    need(session->receive(bytes, scratch, kNow, *this).ok());
  }
};

// What the ends of one measurement share, as those of one worker do.
struct World {
  const Identities& identities;
  const Way way;
  std::unique_ptr<Batch> batch;
  SessionContext clients;
  SessionContext servers;
  std::vector<weft::tls::SpiffeId> expected = {weft::tls::parseSpiffeId(kServerId).value()};

  World(const Identities& identitiesIn, const Way& wayIn, Mode mode)
      : identities(identitiesIn), way(wayIn) {
    if (mode != Mode::kOff) {
      batch = std::make_unique<Batch>(mode, weft::crypto::breakEvensOf(mode, weft::threadNanos),
                                      4096, weft::monotonicNanos, [] {});
    }
    for (SessionContext* context : {&clients, &servers}) {
      context->batch = batch.get();
      context->leaves = weft::tls::VerifiedLeaves(way.leavesKnown ? 16 : 0);
    }
    clients.groups.tookClassical(kClassicalPeer, kNow);
  }
};

struct Pair {
  End client;
  End server;
  double startedSeconds = 0;

  void open(World& world) {
    startedSeconds = secondsOf(CLOCK_MONOTONIC);
    client.done = server.done = false;
    weft::tls::Resumption way;
    way.key = kClassicalPeer;
    client.session = newClientSession(world.identities.client, world.expected, world.clients, way);
    server.session = newServerSession(world.identities.server, world.servers);
    need(server.session->start(kNow, &server).ok() && client.session->start(kNow, &client).ok());
  }
  bool step() {
    const bool moved = move(client, server);
    return move(server, client) || moved;
  }
  static bool move(End& from, End& to) {
    const auto out = from.session->outgoing();
    if (out.empty() || to.session->waits()) {
      return false;
    }
    std::vector<uint8_t> wire(out.begin(), out.end());  // stands for the kernel
    from.session->sent(out.size());
    to.receive(wire);
    return true;
  }
};

struct Measured {
  double micros;     // CPU, a handshake, both ends
  double p50Micros;  // from its first byte to its last
  double p99Micros;
  double lanesFilled = 0;  // of calls of kernels
  double inSixLanes = 0;   // share of operations in calls with six lanes filled, or more
};

void addLanes(const Batch& batch, Measured& measured) {
  double calls = 0;
  double operations = 0;
  double inLanes = 0;
  double inSix = 0;
  for (const auto& one : batch.totals().operations) {
    operations += static_cast<double>(one.scalar.get());
    for (size_t i = 0; i < weft::crypto::kLanes; i++) {
      const auto count = static_cast<double>(one.calls[i].get());
      const double filled = count * static_cast<double>(i + 1);
      calls += count;
      operations += filled;
      inLanes += filled;
      inSix += i >= 5 ? filled : 0;
    }
  }
  measured.lanesFilled = calls > 0 ? inLanes / calls : 0;
  measured.inSixLanes = operations > 0 ? inSix / operations : 0;
}

Measured measure(const Identities& identities, const Way& way, Mode mode, size_t handshakes) {
  World world(identities, way, mode);
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<double> latencies;
  const double begin = secondsOf(CLOCK_THREAD_CPUTIME_ID);
  size_t started = 0;
  for (size_t i = 0; i < way.atOnce; i++, started++) {
    pairs.push_back(std::make_unique<Pair>());
    pairs.back()->open(world);
  }
  while (latencies.size() < handshakes) {
    for (const auto& pair : pairs) {
      while (pair->step()) {
      }
      if (pair->client.done && pair->server.done && pair->client.session != nullptr) {
        latencies.push_back((secondsOf(CLOCK_MONOTONIC) - pair->startedSeconds) * 1e6);
        pair->open(world);
      }
    }
    if (world.batch != nullptr && world.batch->settle(kSettleNanoseconds)) {
      world.batch->makeShares();
    }
  }
  Measured measured{};
  measured.micros =
      (secondsOf(CLOCK_THREAD_CPUTIME_ID) - begin) * 1e6 / static_cast<double>(latencies.size());
  std::sort(latencies.begin(), latencies.end());
  measured.p50Micros = latencies[latencies.size() / 2];
  measured.p99Micros = latencies[latencies.size() * 99 / 100];
  if (world.batch != nullptr) {
    addLanes(*world.batch, measured);
  }
  return measured;
}

void print(const Way& way, Mode mode, int round, const Measured& m) {
  std::printf(
      "{\"leaves\":\"%s\",\"atOnce\":%zu,\"mode\":\"%s\",\"round\":%d,"
      "\"micros\":%.2f,\"p50Micros\":%.2f,\"p99Micros\":%.2f,\"lanesFilled\":%.2f,"
      "\"inSixLanes\":%.3f}\n",
      way.leavesKnown ? "known" : "verified", way.atOnce, nameOf(mode), round, m.micros,
      m.p50Micros, m.p99Micros, m.lanesFilled, m.inSixLanes);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 3;
  const auto handshakes = static_cast<size_t>(argc > 2 ? std::atoi(argv[2]) : 1000);
  std::vector<Mode> modes = {Mode::kOff, Mode::kScalar};
  if (weft::crypto::avx512Kernels() != nullptr) {
    modes.push_back(Mode::kAvx512);
  }
  const Identities identities;
  for (int round = 0; round < rounds; round++) {
    for (const bool known : {false, true}) {
      for (const size_t atOnce : {1, 2, 4, 8, 16, 64}) {
        const Way way{known, atOnce};
        for (const Mode mode : modes) {
          print(way, mode, round, measure(identities, way, mode, handshakes));
        }
      }
    }
  }
  return 0;
}
