// SPDX-License-Identifier: Apache-2.0
// Handshakes that a thread leaves when it ends. A fiber that is resumed by another than its own
// thread ends the process.
#include "io/worker.h"
#include "tls/batched_ends.h"

namespace weft::test {
namespace {

// As a tunnel that has more to do than one turn takes.
struct Tunnel final : io::Task {
  io::Loop& loop;
  BatchedPair pair;

  Tunnel(io::Loop& loopIn, crypto::Batch* batch, const std::shared_ptr<const Identity>& client,
         const std::shared_ptr<const Identity>& server)
      : loop(loopIn), pair(SessionRow::kRecord, batch, client, server) {}
  void onAgain() override { loop.again(this); }
};

TEST_CASE("handshakes that wait when their worker ends are unwound on its thread") {
  // More than a turn goes on with.
  constexpr int kTunnels = 3 * io::Loop::kAgainPerTurn;
  TestCa ca;
  const std::shared_ptr<const Identity> client = ca.identity(kWeb);
  const std::shared_ptr<const Identity> server = ca.identity(kCart);
  const std::unique_ptr<crypto::Batch> batch = batchOf(crypto::Mode::kScalar);
  int waiting = 0;
  {
    io::Worker worker("ends");
    worker.post([&] {
      for (int i = 0; i < kTunnels; i++) {
        auto tunnel = std::make_unique<Tunnel>(worker.loop(), batch.get(), client, server);
        waiting += tunnel->pair.client.session->waits() ? 1 : 0;
        worker.loop().again(tunnel.get());
        worker.loop().bury(std::move(tunnel));
      }
    });
  }
  CHECK(waiting == kTunnels);
  CHECK(batch->settle(1));  // nothing of them is left
}

}  // namespace
}  // namespace weft::test
