// SPDX-License-Identifier: Apache-2.0
// Handshakes whose public-key operations are gathered.
#include "crypto/library_locks.h"
#include "tls/batched_ends.h"

namespace weft::test {
namespace {

using crypto::Operation;

struct Batched {
  crypto::Batch batch{crypto::Mode::kScalar, crypto::BreakEvens::never(), 64, monotonicNanos,
                      [] {}};
  TestCa ca;
  std::shared_ptr<const Identity> clientId = ca.identity(kWeb);
  std::shared_ptr<const Identity> serverId = ca.identity(kCart);

  BatchedPair pair(SessionRow row) { return BatchedPair(row, &batch, clientId, serverId); }
};

EACH_ROW("one handshake passes each queue as often as it computes") {
  Batched b;
  BatchedPair pair(Row::value, &b.batch, b.clientId, b.serverId);
  CHECK(pair.client.session->waits());
  CHECK(pair.client.session->outgoing().empty());
  do {
    settleAll(b.batch);
  } while (step(pair));
  CHECK(pair.client.done);
  CHECK(pair.server.done);
  // The client makes a second share: the hybrid's.
  CHECK(gathered(b.batch, Operation::kX25519Keygen) == 3);
  CHECK(gathered(b.batch, Operation::kX25519Derive) == 2);
  CHECK(gathered(b.batch, Operation::kEcdsaSign) == 2);
  CHECK(gathered(b.batch, Operation::kEcdsaVerify) == 4);
  CHECK(gathered(b.batch, Operation::kP256Keygen) == 0);
  CHECK(gathered(b.batch, Operation::kP256Derive) == 0);
}

EACH_ROW("nothing of the library is locked while a handshake waits") {
  Batched b;
  const uint64_t before = libraryLocksTaken();
  BatchedPair pair(Row::value, &b.batch, b.clientId, b.serverId);
  int waits = 0;
  do {
    // One operation at a time, so that each wait is seen.
    while (!b.batch.settle(1)) {
      CHECK(libraryLocksHeld() == 0);
      waits++;
    }
    CHECK(libraryLocksHeld() == 0);
  } while (step(pair));
  CHECK(pair.server.done);
  CHECK(waits >= 11);
  CHECK(libraryLocksTaken() > before);
}

EACH_ROW("with a peer that wants P-256 the key exchange passes its queues") {
  Batched b;
  const IdentityMaterial material = b.ca.material(kCart);
  RawPeer server(&material);
  REQUIRE(SSL_CTX_set1_groups_list(server.context.get(), "P-256") == 1);
  BatchedEnd client(Row::value, &b.batch);
  client.session = newClientSession(b.clientId, {idOf(kCart)}, client.context);
  REQUIRE(client.session->start(kNow, &client).ok());
  server.start(true);
  for (int i = 0; i < 4; i++) {
    settleAll(b.batch);
    server.give(client.take());
    SSL_do_handshake(server.ssl.get());
    client.receive(server.take());
  }
  CHECK(client.done);
  CHECK(gathered(b.batch, Operation::kP256Keygen) == 1);
  CHECK(gathered(b.batch, Operation::kP256Derive) == 1);
}

EACH_ROW("a session that goes while it waits leaves nothing behind") {
  Batched b;
  for (int steps = 0; steps < 6; steps++) {
    CAPTURE(steps);
    BatchedPair pair(Row::value, &b.batch, b.clientId, b.serverId);
    for (int i = 0; i < steps; i++) {
      settleAll(b.batch);
      step(pair);
    }
  }
  CHECK(b.batch.settle(UINT64_MAX));
}

EACH_ROW("a session that is abandoned leaves its queue at once, is spent, and harms no other") {
  Batched b;
  BatchedPair pair(Row::value, &b.batch, b.clientId, b.serverId);
  BatchedPair other(Row::value, &b.batch, b.clientId, b.serverId);
  pair.client.session->abandon();
  CHECK_FALSE(pair.client.session->waits());
  settleAll(b.batch);
  CHECK(gathered(b.batch, Operation::kX25519Keygen) == 2);  // the other's
  CHECK(pair.client.session->outgoing().empty());
  pair.client.receive({});
  CHECK_FALSE(pair.client.status.ok());
  CHECK_FALSE(pair.client.session->seal().ok());
  while (step(other)) {
    settleAll(b.batch);
  }
  CHECK(other.client.done);
  CHECK(other.server.done);
}

EACH_ROW("a session that does not wait is not abandoned") {
  Batched b;
  BatchedPair pair(Row::value, &b.batch, b.clientId, b.serverId);
  do {
    settleAll(b.batch);
    pair.client.session->abandon();
    pair.server.session->abandon();
  } while (step(pair));
  CHECK(pair.client.done);
  CHECK(pair.server.done);
}

EACH_ROW("bytes that come in one piece with what is waited for are kept") {
  Batched b;
  BatchedPair pair(Row::value, &b.batch, b.clientId, b.serverId);
  settleAll(b.batch);
  REQUIRE(move(pair.client, pair.server));
  settleAll(b.batch);
  REQUIRE(move(pair.server, pair.client));
  settleAll(b.batch);
  REQUIRE(pair.client.done);
  // The client's last flight and its first data.
  Bytes last = pair.client.take();
  pair.client.session->write(pattern(5000));
  REQUIRE(pair.client.session->seal().ok());
  const Bytes data = pair.client.take();
  last.insert(last.end(), data.begin(), data.end());
  pair.server.receive(last);
  CHECK(pair.server.session->waits());
  CHECK(pair.server.plain.empty());
  settleAll(b.batch);
  CHECK(pair.server.done);
  CHECK(pair.server.plain == pattern(5000));
}

}  // namespace
}  // namespace weft::test
