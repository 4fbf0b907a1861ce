// SPDX-License-Identifier: Apache-2.0
// Handshakes with keys that are not gathered, beside those with keys that are.
#include "tls/batched_ends.h"

namespace weft::test {
namespace {

using crypto::Operation;

/// A root and leaves for both ends, each with a key of its kind.
struct Chain {
  TestCa ca;
  std::shared_ptr<const Identity> client;
  std::shared_ptr<const Identity> server;

  Chain(KeyKind root, KeyKind leaf)
      : ca(root), client(ca.identity(kWeb, {}, leaf)), server(ca.identity(kCart, {}, leaf)) {}
};

/// Each but the last has a key of P-256, which is gathered.
const std::array<Chain, 8>& chains() {
  // Keys of RSA take a while to make.
  static const std::array<Chain, 8> kAll = {
      Chain(KeyKind::kP256, KeyKind::kP256),    Chain(KeyKind::kP256, KeyKind::kRsa2048),
      Chain(KeyKind::kRsa2048, KeyKind::kP256), Chain(KeyKind::kP256, KeyKind::kP384),
      Chain(KeyKind::kP384, KeyKind::kP256),    Chain(KeyKind::kP256, KeyKind::kEd25519),
      Chain(KeyKind::kEd25519, KeyKind::kP256), Chain(KeyKind::kP521, KeyKind::kRsa2048)};
  return kAll;
}

using Pairs = std::vector<std::unique_ptr<BatchedPair>>;

// Until nothing can move any more.
void shakeHands(Pairs& pairs, crypto::Batch* batch) {
  bool moved = true;
  while (moved) {
    if (batch != nullptr) {
      settleAll(*batch);
    }
    moved = false;
    for (const auto& pair : pairs) {
      moved = step(*pair) || moved;
    }
  }
}

void checkData(BatchedEnd& from, BatchedEnd& to) {
  from.session->write(pattern(5000));
  REQUIRE(from.session->seal().ok());
  to.receive(from.take());
  CHECK(to.plain == pattern(5000));
}

EACH_ROW("keys of all kinds are taken side by side, whoever's they are") {
  for (const crypto::Mode mode : allModes()) {
    CAPTURE(nameOf(mode));
    const std::unique_ptr<crypto::Batch> batch = batchOf(mode);
    Pairs pairs;
    for (const Chain& chain : chains()) {
      pairs.push_back(
          std::make_unique<BatchedPair>(Row::value, batch.get(), chain.client, chain.server));
    }
    shakeHands(pairs, batch.get());
    for (const auto& pair : pairs) {
      CHECK_MESSAGE(pair->client.done, pair->client.status.message());
      CHECK_MESSAGE(pair->server.done, pair->server.status.message());
      checkData(pair->client, pair->server);
      checkData(pair->server, pair->client);
    }
    if (batch != nullptr) {
      // In four of them leaves are of P-256: both ends sign, and verify what the other signed. In
      // four the root is: both verify the other's leaf.
      CHECK(gathered(*batch, Operation::kEcdsaSign) == 4 * 2);
      CHECK(gathered(*batch, Operation::kEcdsaVerify) == 4 * 2 + 4 * 2);
      CHECK(gathered(*batch, Operation::kX25519Derive) == 8 * 2);
    }
  }
}

EACH_ROW("a leaf of RSA that another authority signed is refused in each mode alike") {
  const Chain& chain = chains()[1];
  const TestCa other(KeyKind::kRsa2048);
  const auto stranger = other.identity(kWeb, {}, KeyKind::kRsa2048);
  for (const crypto::Mode mode : allModes()) {
    CAPTURE(nameOf(mode));
    const std::unique_ptr<crypto::Batch> batch = batchOf(mode);
    Pairs pairs;
    for (int i = 0; i < 8; i++) {
      pairs.push_back(std::make_unique<BatchedPair>(
          Row::value, batch.get(), i == 3 ? stranger : chain.client, chain.server));
    }
    // The stranger does not know the server's authority either: it is the first to refuse.
    shakeHands(pairs, batch.get());
    for (size_t i = 0; i < pairs.size(); i++) {
      CAPTURE(i);
      CHECK(pairs[i]->server.done == (i != 3));
      CHECK(pairs[i]->client.status.message() ==
            (i == 3 ? "peer: certificate signature failure" : ""));
    }
  }
}

}  // namespace
}  // namespace weft::test
