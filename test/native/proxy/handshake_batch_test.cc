// SPDX-License-Identifier: Apache-2.0
#include "proxy/handshake_batch.h"

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <vector>

namespace weft::proxy {
namespace {

constexpr size_t kFibersMax = 100;

/// A handshake's stand-in: one key is made, and the turn noted in which that was done.
class Maker final : public crypto::FiberOwner {
 public:
  Maker(io::Loop& loop, crypto::Batch& batch) : loop_(loop), batch_(batch) {}

  void start() {
    begun_ = loop_.turns();
    batch_.start(
        [] {
          crypto::X25519Keygen keygen{};
          const auto prepare = [] { return true; };
          crypto::Batch::current()->compute(crypto::Operation::kX25519Keygen, keygen, prepare);
        },
        *this);
  }
  void onFiberEnd() override { ended_ = loop_.turns(); }

  uint64_t begun() const { return begun_; }
  uint64_t ended() const { return ended_; }

 private:
  io::Loop& loop_;
  crypto::Batch& batch_;
  uint64_t begun_ = 0;
  uint64_t ended_ = 0;
};

/// Makers that begin one a turn, `count` of them; then some turns are waited for.
std::vector<std::unique_ptr<Maker>> oneATurn(size_t count) {
  io::Loop loop;
  HandshakeBatch handshakes(loop, crypto::Mode::kScalar, kFibersMax);
  std::vector<std::unique_ptr<Maker>> makers;
  int idleTurns = HandshakeBatch::kGatheringTurnsMax + 2;
  const std::function<void()> turn = [&] {
    if (makers.size() < count) {
      makers.push_back(std::make_unique<Maker>(loop, *handshakes.batch()));
      makers.back()->start();
    } else if (idleTurns-- == 0) {
      loop.stop();
      return;
    }
    loop.post(turn);
  };
  loop.post(turn);
  loop.run();
  return makers;
}

TEST_CASE("a handshake that nobody joins in the next turn waits for no further one") {
  const auto makers = oneATurn(1);
  CHECK(makers[0]->ended() == makers[0]->begun() + 1);
}

TEST_CASE("as long as turns bring handshakes they are gathered, and then computed together") {
  const auto makers = oneATurn(3);
  CHECK(makers[2]->begun() == makers[0]->begun() + 2);
  for (const auto& maker : makers) {
    CHECK(maker->ended() == makers[2]->begun() + 1);
  }
}

TEST_CASE("no handshake waits longer for others than so many turns, however many come") {
  constexpr auto kMax = static_cast<uint64_t>(HandshakeBatch::kGatheringTurnsMax);
  const auto makers = oneATurn(4 * kMax);
  for (const auto& maker : makers) {
    REQUIRE(maker->ended() != 0);
    CHECK(maker->ended() <= maker->begun() + kMax);
  }
}

}  // namespace
}  // namespace weft::proxy
