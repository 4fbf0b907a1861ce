// SPDX-License-Identifier: Apache-2.0
// What TLS costs: CPU time of a handshake, both ends together, and of records in bulk, in each row.
// Prints one line for each; `bench_tls [rounds]`.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <vector>

#include "../../test/native/tls/test_ca.h"
#include "tls/session.h"

namespace {

using weft::Status;
using weft::test::kNow;
using weft::test::need;
using weft::test::TestCa;
using weft::tls::Session;
using weft::tls::SessionContext;
using weft::tls::SessionRow;

constexpr const char* kClientId = "spiffe://td/ns/a/sa/client";
constexpr const char* kServerId = "spiffe://td/ns/a/sa/server";
constexpr int kHandshakes = 400;
constexpr size_t kBulkBytes = 1 << 30;
constexpr size_t kFlushBytes = 128 << 10;

double cpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct End final : weft::tls::PlainSink {
  SessionContext context;
  std::unique_ptr<Session> session;
  std::vector<uint8_t> scratch = std::vector<uint8_t>(512 << 10);
  size_t received = 0;

  Status onHandshakeDone() override { return {}; }
  Status onPlain(std::span<uint8_t> plain) override {
    received += plain.size();
    return {};
  }
};

struct Bench {
  TestCa ca;
  std::shared_ptr<const weft::tls::Identity> clientId = ca.identity(kClientId);
  std::shared_ptr<const weft::tls::Identity> serverId = ca.identity(kServerId);
  weft::tls::SessionStore store;
  End client;
  End server;
  std::vector<uint8_t> wire;

  explicit Bench(SessionRow row) { client.context.row = server.context.row = row; }

  void move(End& from, End& to) {
    const auto out = from.session->outgoing();
    wire.assign(out.begin(), out.end());  // stands for the kernel
    from.session->sent(out.size());
    need(to.session->receive(wire, to.scratch, kNow, to).ok());
  }
  void connect(bool resume) {
    weft::tls::Resumption resumption;
    if (resume) {
      resumption = {&store, "server"};
    }
    client.session = newClientSession(clientId, {weft::tls::parseSpiffeId(kServerId).value()},
                                      client.context, resumption);
    server.session = newServerSession(serverId, server.context);
    need(server.session->start(kNow).ok() && client.session->start(kNow).ok());
    for (int i = 0; i < 2; i++) {
      move(client, server);
      move(server, client);
    }
    need(client.session->handshakeDone() && server.session->handshakeDone());
    need(client.session->resumed() == (resume && warm));
  }
  bool warm = false;

  double handshakes(bool leafCache, bool resume) {
    if (resume) {
      server.context.ticketKeys = std::make_shared<weft::tls::TicketKeys>();
      connect(true);
      warm = true;
    }
    const double begin = cpuSeconds();
    for (int i = 0; i < kHandshakes; i++) {
      if (!leafCache) {
        client.context.leaves = weft::tls::VerifiedLeaves(0);
        server.context.leaves = weft::tls::VerifiedLeaves(0);
      }
      connect(resume);
    }
    return (cpuSeconds() - begin) / kHandshakes * 1e6;
  }

  // CPU seconds a GB: written, sealed, carried by one copy, opened.
  double bulk() {
    connect(false);
    server.received = 0;
    const double begin = cpuSeconds();
    for (size_t done = 0; done < kBulkBytes;) {
      while (client.session->unsent() < kFlushBytes) {
        // As a recv() would leave it: the bytes are there, whatever they are.
        const size_t n = client.session->reserve(4096).size();
        client.session->commit(std::min<size_t>(n, 16384));
        done += std::min<size_t>(n, 16384);
      }
      need(client.session->seal().ok());
      move(client, server);
    }
    return (cpuSeconds() - begin) / static_cast<double>(server.received) * 1e9;
  }
};

double median(int rounds, const std::function<double()>& measure) {
  std::vector<double> values;
  for (int i = 0; i < rounds; i++) {
    values.push_back(measure());
  }
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 3;
  for (const SessionRow row : {SessionRow::kRecord, SessionRow::kLibrary}) {
    const char* name = row == SessionRow::kRecord ? "record" : "library";
    const auto shake = [&](bool leafCache, bool resume) {
      return median(rounds, [&] { return Bench(row).handshakes(leafCache, resume); });
    };
    std::printf("%-8s handshake, both ends: full %.0f us, leaves known %.0f us, resumed %.0f us\n",
                name, shake(false, false), shake(true, false), shake(true, true));
    std::printf("%-8s seal, copy and open: %.3f CPU s/GB\n", name,
                median(rounds, [&] { return Bench(row).bulk(); }));
  }
  return 0;
}
