// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../native/crypto/gathering.h"
#include "../native/tls/test_ca.h"
#include "base/clock.h"
#include "crypto/batch.h"
#include "tls/session.h"

// Two ends and what stands between them: the input cuts, changes, drops and inserts bytes. Whatever
// it does, an end takes no peer but the right one, and no byte that the other did not send. They
// compute by themselves, or wait for a batch, in which they may be abandoned.
namespace {

using weft::Status;
using weft::crypto::Batch;
using weft::crypto::BreakEvens;
using weft::crypto::Mode;
using weft::test::kNow;
using weft::test::need;
using weft::test::TestCa;
using weft::tls::Identity;
using weft::tls::Session;

constexpr const char* kClientId = "spiffe://td/ns/a/sa/client";
constexpr const char* kServerId = "spiffe://td/ns/a/sa/server";

constexpr size_t kFibers = 2;

std::unique_ptr<Batch> batchOf(Mode mode) {
  BreakEvens always{};
  always.lanes.fill(1);
  return std::make_unique<Batch>(mode, always, kFibers, weft::monotonicNanos, [] {});
}

struct Ends {
  TestCa ca;
  std::shared_ptr<const Identity> client = ca.identity(kClientId);
  std::shared_ptr<const Identity> server = ca.identity(kServerId);
  weft::tls::SessionContext context;
  std::unique_ptr<Batch> scalar = batchOf(Mode::kScalar);
  std::unique_ptr<Batch> lanes = batchOf(weft::crypto::gatheringMode());

  // Sets how both compute.
  void choose(uint8_t how) {
    context.row = how % 2 == 0 ? weft::tls::SessionRow::kRecord : weft::tls::SessionRow::kLibrary;
    context.batch = (how & 2) == 0 ? nullptr : (how & 4) == 0 ? scalar.get() : lanes.get();
  }
};

struct End final : weft::tls::PlainSink, weft::tls::SessionOwner {
  std::unique_ptr<Session> session;
  const char* expected = nullptr;
  std::string sent;
  std::string received;
  std::vector<uint8_t> scratch = std::vector<uint8_t>(128 << 10);
  bool done = false;
  bool failed = false;

  Status onHandshakeDone() override {
    need(!done && session->handshakeDone() && session->peer().id.text == expected);
    done = true;
    return {};
  }
  Status onPlain(std::span<uint8_t> plain) override {
    need(done && !plain.empty());
    received.append(reinterpret_cast<const char*>(plain.data()), plain.size());
    return {};
  }
  void onSessionReady() override { receive({}); }
  void abandon() {
    failed = failed || session->waits();
    session->abandon();
    need(!session->waits());
  }
  void receive(std::vector<uint8_t> cipher) {
    if (failed) {
      return;
    }
    failed = !session->receive(cipher, scratch, kNow, *this).ok();
    need(failed || done == session->handshakeDone());
  }
  void say(size_t n) {
    const std::string more(n, static_cast<char>('a' + sent.size() % 26));
    session->write({reinterpret_cast<const uint8_t*>(more.data()), more.size()});
    sent += more;
  }
  std::vector<uint8_t> take() {
    if (!failed) {
      need(session->seal().ok());
    }
    const auto out = session->outgoing();
    std::vector<uint8_t> bytes(out.begin(), out.end());
    session->sent(bytes.size());
    return bytes;
  }
};

class Wire {
 public:
  Wire(std::span<const uint8_t> script, Batch*& batch) : batch_(batch), script_(script) {}

  bool empty() const { return script_.empty(); }
  uint8_t next() {
    if (script_.empty()) {
      return 0;
    }
    const uint8_t byte = script_.front();
    script_ = script_.subspan(1);
    return byte;
  }
  void carry(End& from, End& to) {
    if (batch_ != nullptr && next() % 4 == 3) {
      from.abandon();
    }
    settle();
    std::vector<uint8_t> bytes = from.take();
    meddle(bytes);
    const size_t grain = std::max<size_t>(next() * size_t{16}, 1);
    for (size_t at = 0; at < bytes.size();) {
      const size_t n = grain == 1 ? bytes.size() - at : std::min(grain, bytes.size() - at);
      const auto begin = bytes.begin() + static_cast<long>(at);
      if (to.session->waits()) {
        settle();  // else it takes nothing
      }
      to.receive({begin, begin + static_cast<long>(n)});
      at += n;
    }
  }

 private:
  void settle() {
    if (batch_ != nullptr) {
      need(batch_->settle(UINT64_MAX));
    }
  }
  void meddle(std::vector<uint8_t>& bytes) {
    const uint8_t how = next() % 16;
    const size_t at = bytes.empty() ? 0 : (next() << 8 | next()) % bytes.size();
    const auto place = bytes.begin() + static_cast<long>(at);
    if (how == 1 && !bytes.empty()) {
      bytes[at] ^= static_cast<uint8_t>(1 << next() % 8);
    } else if (how == 2) {
      bytes.resize(at);
    } else if (how == 3) {
      bytes.erase(bytes.begin(), place);
    } else if (how == 4) {
      const size_t n = std::min<size_t>(next(), script_.size());
      bytes.insert(place, script_.begin(), script_.begin() + static_cast<long>(n));
      script_ = script_.subspan(n);
    } else if (how == 5) {
      const std::vector<uint8_t> copy(bytes);
      bytes.insert(bytes.end(), copy.begin(), copy.end());
    }
  }

  Batch*& batch_;
  std::span<const uint8_t> script_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Ends* const ends = new Ends();
  Wire wire({data, size}, ends->context.batch);
  ends->choose(wire.next());
  End client;
  End server;
  client.expected = kServerId;
  server.expected = kClientId;
  client.session =
      newClientSession(ends->client, {weft::tls::parseSpiffeId(kServerId).value()}, ends->context);
  server.session = newServerSession(ends->server, ends->context);
  need(server.session->start(kNow, &server).ok() && client.session->start(kNow, &client).ok());
  for (int turn = 0; turn < 16 && (turn < 4 || !wire.empty()); turn++) {
    const uint8_t what = wire.next();
    End& speaker = what % 2 == 0 ? client : server;
    if (what % 8 == 7 && !speaker.failed && speaker.done) {
      speaker.session->closeNotify();
      wire.carry(speaker, what % 2 == 0 ? server : client);
      break;
    }
    if (!speaker.failed) {
      speaker.say(size_t{16} * (what >> 3));
    }
    wire.carry(client, server);
    wire.carry(server, client);
  }
  need(client.sent.starts_with(server.received));
  need(server.sent.starts_with(client.received));
  return 0;
}
