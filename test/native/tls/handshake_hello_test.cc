// SPDX-License-Identifier: Apache-2.0
// A peer whose hello is none, beside seven handshakes that go well: only the end of ours that it
// was said to fails, and in each mode alike. What it offers as a key is what kernels are given
// first, before anybody is known. What clients may offer is in test/integration/hbone.
#include "tls/batched_ends.h"
#include "tls/hellos.h"

namespace weft::test {
namespace {

constexpr size_t kNeighbours = 7;

// What a hello says where it is not as it should be.
struct ServerHello {
  Bytes random = Bytes(32, 0x5a);
  uint16_t suite = kAes128;
  uint16_t version = TLS1_3_VERSION;
  Bytes extensions;   // but for the version
  uint8_t idBit = 0;  // changed in the session's ID, which has to come back
};

ServerHello answerWith(uint16_t group, const Bytes& key) {
  ServerHello hello;
  hello.extensions = share(group, key);
  return hello;
}

ServerHello askFor(uint16_t group) {
  ServerHello hello;
  hello.random = retryRandom();
  hello.extensions = extension(TLSEXT_TYPE_key_share, number(group, 2));
  return hello;
}

// Of the ClientHello that begins `said`.
Bytes sessionIdIn(const Bytes& said) {
  constexpr size_t kBefore = 5 + 4 + 2 + 32;
  const auto at = said.begin() + kBefore;
  return {at + 1, at + 1 + *at};
}

Bytes bytesOf(const ServerHello& hello, Bytes sessionId) {
  sessionId.at(0) ^= hello.idBit;
  const Bytes version = extension(TLSEXT_TYPE_supported_versions, number(hello.version, 2));
  const Bytes body = joined({{3, 3},
                             hello.random,
                             prefixed(1, sessionId),
                             number(hello.suite, 2),
                             {0},
                             prefixed(2, joined({version, hello.extensions}))});
  return record(SSL3_RT_HANDSHAKE, joined({{SSL3_MT_SERVER_HELLO}, prefixed(3, body)}));
}

// RFC 8446 would have illegal_parameter for a share that a server may not send, as it is said to a
// client that sends one. The library takes such a server for a fault of its own.
constexpr int kBadShare = SSL_AD_INTERNAL_ERROR;

// What a server says, hello by hello, and what our client has to tell it.
struct Lie {
  const char* what;
  std::vector<ServerHello> hellos;
  int alert;
};

const std::vector<Lie>& lies() {
  const Bytes mlKem(1088, 0);
  static const std::vector<Lie> kAll = {
      {"X25519: zeros", {answerWith(kX25519, Bytes(32, 0))}, kBadShare},
      {"X25519: one", {answerWith(kX25519, changed(Bytes(32, 0), 0, 1))}, kBadShare},
      {"X25519: a point of order 8", {answerWith(kX25519, pointOfLowOrder())}, kBadShare},
      {"X25519: a byte short", {answerWith(kX25519, Bytes(31, 9))}, kBadShare},
      {"X25519: a byte long", {answerWith(kX25519, Bytes(33, 9))}, kBadShare},
      {"X25519: nothing", {answerWith(kX25519, {})}, kBadShare},
      {"the hybrid: zeros for X25519",
       {answerWith(kHybrid, joined({mlKem, Bytes(32, 0)}))},
       kBadShare},
      {"the hybrid: X25519 alone", {answerWith(kHybrid, Bytes(32, 9))}, kBadShare},
      {"a group of which it has no share",
       {answerWith(kP256, basePoint())},
       SSL_AD_ILLEGAL_PARAMETER},
      {"a group that it did not name", {answerWith(kP384, Bytes(97, 4))}, SSL_AD_ILLEGAL_PARAMETER},
      {"P-256: a point off the curve",
       {askFor(kP256), answerWith(kP256, changed(basePoint(), 64, 1))},
       kBadShare},
      {"P-256: the point at infinity", {askFor(kP256), answerWith(kP256, {0})}, kBadShare},
      {"P-256: zeros", {askFor(kP256), answerWith(kP256, joined({{4}, Bytes(64, 0)}))}, kBadShare},
      {"P-256: a compressed point",
       {askFor(kP256),
        answerWith(kP256, joined({{3}, Bytes(basePoint().begin() + 1, basePoint().begin() + 33)}))},
       kBadShare},
      {"P-256: a byte short",
       {askFor(kP256), answerWith(kP256, Bytes(basePoint().begin(), basePoint().end() - 1))},
       kBadShare},
      {"P-256 asked for, and X25519 answered",
       {askFor(kP256), answerWith(kX25519, Bytes(32, 9))},
       SSL_AD_ILLEGAL_PARAMETER},
      {"a share asked for that it has", {askFor(kX25519)}, SSL_AD_ILLEGAL_PARAMETER},
      {"a group asked for that it did not name", {askFor(kP384)}, SSL_AD_ILLEGAL_PARAMETER},
      {"the same asked for again and again",
       {askFor(kP256), askFor(kP256)},
       SSL_AD_UNEXPECTED_MESSAGE},
      {"another asked for the second time",
       {askFor(kP256), askFor(kX25519)},
       SSL_AD_UNEXPECTED_MESSAGE},
      {"no share at all", {ServerHello()}, SSL_AD_MISSING_EXTENSION},
      {"a suite that it did not name",
       {[] {
         ServerHello hello = answerWith(kX25519, Bytes(32, 9));
         hello.suite = kChaCha20;
         return hello;
       }()},
       SSL_AD_ILLEGAL_PARAMETER},
      {"TLS 1.2",
       {[] {
         ServerHello hello = answerWith(kX25519, Bytes(32, 9));
         hello.version = TLS1_2_VERSION;
         return hello;
       }()},
       SSL_AD_PROTOCOL_VERSION},
      {"another session's ID",
       {[] {
         ServerHello hello = answerWith(kX25519, Bytes(32, 9));
         hello.idBit = 1;
         return hello;
       }()},
       SSL_AD_DECODE_ERROR},
      {"a session resumed that was not offered",
       {[] {
         ServerHello hello = answerWith(kX25519, Bytes(32, 9));
         const Bytes psk = extension(TLSEXT_TYPE_pre_shared_key, number(0, 2));
         hello.extensions = joined({hello.extensions, psk});
         return hello;
       }()},
       SSL_AD_UNSUPPORTED_EXTENSION},
  };
  return kAll;
}

struct Identities {
  TestCa ca;
  std::shared_ptr<const Identity> client = ca.identity(kWeb);
  std::shared_ptr<const Identity> server = ca.identity(kCart);
};

// Pairs of ours that share a batch with whoever is lied to.
class Neighbours {
 public:
  Neighbours(SessionRow row, crypto::Batch* batch, const Identities& identities) {
    for (size_t i = 0; i < kNeighbours; i++) {
      pairs_.push_back(
          std::make_unique<BatchedPair>(row, batch, identities.client, identities.server));
    }
  }
  void step() {
    for (const auto& pair : pairs_) {
      test::step(*pair);
    }
  }
  bool done() const {
    return std::all_of(pairs_.begin(), pairs_.end(), [](const auto& pair) {
      return pair->client.done && pair->server.done && pair->client.status.ok() &&
             pair->server.status.ok();
    });
  }

 private:
  std::vector<std::unique_ptr<BatchedPair>> pairs_;
};

void settle(crypto::Batch* batch) {
  // One step at a time, so that what any leaves to the thread is seen.
  while (batch != nullptr && !batch->settle(1)) {
    CHECK(ERR_peek_error() == 0);
  }
  CHECK(ERR_peek_error() == 0);
}

struct Outcome {
  std::string status;
  int alert = 0;
};

Outcome liedTo(SessionRow row, crypto::Mode mode, const Identities& identities, const Lie& lie) {
  const std::unique_ptr<crypto::Batch> batch = batchOf(mode);
  Neighbours neighbours(row, batch.get(), identities);
  BatchedEnd own(row, batch.get());
  own.session = newClientSession(identities.client, {idOf(kCart)}, own.context);
  REQUIRE(own.session->start(kNow, &own).ok());
  settle(batch.get());
  const Bytes id = sessionIdIn(own.take());
  for (const ServerHello& hello : lie.hellos) {
    REQUIRE(own.status.ok());
    neighbours.step();
    own.receive(bytesOf(hello, id));
    settle(batch.get());
  }
  for (int i = 0; i < 4; i++) {
    neighbours.step();
    settle(batch.get());
  }
  CHECK(neighbours.done());
  CHECK_FALSE(own.done);
  CHECK_FALSE(own.session->waits());
  return {own.status.message(), alertIn(own.take())};
}

EACH_ROW("a client takes no hello that is none, and its neighbours notice nothing") {
  const Identities identities;
  for (const Lie& lie : lies()) {
    CAPTURE(lie.what);
    const Outcome alone = liedTo(Row::value, crypto::Mode::kOff, identities, lie);
    CHECK(alone.alert == lie.alert);
    CHECK(alone.status != "");
    for (const crypto::Mode mode : allModes()) {
      CAPTURE(nameOf(mode));
      const Outcome outcome = liedTo(Row::value, mode, identities, lie);
      CHECK(outcome.status == alone.status);
      CHECK(outcome.alert == alone.alert);
    }
  }
}

// A ClientHello that offers a session that nobody gave it, with data for it where `early` says so.
Bytes clientHello(bool early) {
  const Bytes identity = joined({prefixed(2, Bytes(64, 0x11)), number(0, 4)});
  const Bytes extensions = joined(
      {extension(TLSEXT_TYPE_supported_versions, prefixed(1, number(TLS1_3_VERSION, 2))),
       extension(TLSEXT_TYPE_supported_groups, prefixed(2, number(kX25519, 2))),
       extension(TLSEXT_TYPE_signature_algorithms,
                 prefixed(2, number(SSL_SIGN_ECDSA_SECP256R1_SHA256, 2))),
       extension(TLSEXT_TYPE_key_share,
                 prefixed(2, joined({number(kX25519, 2), prefixed(2, Bytes(32, 9))}))),
       extension(TLSEXT_TYPE_psk_key_exchange_modes, prefixed(1, {1})),
       early ? extension(TLSEXT_TYPE_early_data, {}) : Bytes(),
       extension(TLSEXT_TYPE_pre_shared_key,
                 joined({prefixed(2, identity), prefixed(2, prefixed(1, Bytes(32, 0x22)))}))});
  const Bytes body = joined({{3, 3},
                             Bytes(32, 0x33),
                             prefixed(1, Bytes(32, 0x44)),
                             prefixed(2, number(kAes128, 2)),
                             prefixed(1, {0}),
                             prefixed(2, extensions)});
  return record(SSL3_RT_HANDSHAKE, joined({{SSL3_MT_CLIENT_HELLO}, prefixed(3, body)}));
}

// What becomes of a server that is sent `records` of a KiB behind such a hello, in one piece.
std::string afterEarlyData(SessionRow row, crypto::Mode mode, const Identities& identities,
                           bool early, size_t records) {
  const std::unique_ptr<crypto::Batch> batch = batchOf(mode);
  Neighbours neighbours(row, batch.get(), identities);
  BatchedEnd own(row, batch.get());
  own.context.ticketKeys = std::make_shared<tls::TicketKeys>();
  own.session = newServerSession(identities.server, own.context);
  REQUIRE(own.session->start(kNow, &own).ok());
  Bytes all = clientHello(early);
  for (size_t i = 0; i < records; i++) {
    const Bytes one = record(SSL3_RT_APPLICATION_DATA, pattern(1024));
    all.insert(all.end(), one.begin(), one.end());
  }
  own.receive(all);
  CHECK(own.session->waits() == (batch != nullptr));
  for (int i = 0; i < 6; i++) {
    settle(batch.get());
    neighbours.step();
  }
  CHECK(neighbours.done());
  CHECK_FALSE(own.done);
  CHECK(own.plain.empty());
  CHECK_FALSE(own.session->outgoing().empty());
  return own.status.message();
}

EACH_ROW("data that comes before the handshake is passed over as far as it goes, and never taken") {
  const Identities identities;
  for (const crypto::Mode mode : allModes()) {
    CAPTURE(nameOf(mode));
    // The library passes over 16 KiB, counted with what seals them.
    CHECK(afterEarlyData(Row::value, mode, identities, true, 15) == "");
    CHECK(afterEarlyData(Row::value, mode, identities, true, 17) ==
          "TLS: TOO_MUCH_SKIPPED_EARLY_DATA");
    CHECK(afterEarlyData(Row::value, mode, identities, false, 1) == "TLS: BAD_DECRYPT");
  }
}

}  // namespace
}  // namespace weft::test
