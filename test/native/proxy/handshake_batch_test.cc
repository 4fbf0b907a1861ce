// SPDX-License-Identifier: Apache-2.0
#include "proxy/handshake_batch.h"

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"

namespace weft::proxy {
namespace {

constexpr size_t kFibersMax = 100;
// So that a slow machine changes nothing.
constexpr uint64_t kAnyTime = UINT64_MAX;

/// So many operations, after each of which something else takes `nanoseconds`.
struct Work {
  int operations = 1;
  uint64_t nanoseconds = 0;
};

/// A handshake's stand-in, and the turn noted in which it was done.
class Maker final : public crypto::FiberOwner {
 public:
  Maker(io::Loop& loop, crypto::Batch& batch, Work work = {})
      : loop_(loop), batch_(batch), work_(work) {}

  void start() {
    begun_ = loop_.turns();
    batch_.start(
        [work = work_] {
          for (int i = 0; i < work.operations; i++) {
            crypto::X25519Keygen keygen{};
            const auto prepare = [] { return true; };
            crypto::Batch::current()->compute(crypto::Operation::kX25519Keygen, keygen, prepare);
            const uint64_t until = monotonicNanos() + work.nanoseconds;
            while (monotonicNanos() < until) {
            }
          }
        },
        *this);
  }
  void onFiberEnd() override { ended_ = loop_.turns(); }

  uint64_t begun() const { return begun_; }
  uint64_t ended() const { return ended_; }

 private:
  io::Loop& loop_;
  crypto::Batch& batch_;
  const Work work_;
  uint64_t begun_ = 0;
  uint64_t ended_ = 0;
};

/// Makers that begin one a turn, `count` of them; then some turns are waited for.
std::vector<std::unique_ptr<Maker>> oneATurn(size_t count) {
  io::Loop loop;
  HandshakeBatch handshakes(loop, crypto::Mode::kScalar, kFibersMax, kAnyTime);
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

/// Goes on in every turn that it gets, until it is told to stop.
struct Busy final : io::Task {
  io::Loop& loop;
  const bool& over;

  Busy(io::Loop& loopIn, const bool& overIn) : loop(loopIn), over(overIn) { loop.again(this); }
  void onAgain() override {
    if (!over) {
      loop.again(this);
    }
  }
};

TEST_CASE("a handshake does not stand in the queue of busy connections") {
  io::Loop loop;
  HandshakeBatch handshakes(loop, crypto::Mode::kScalar, kFibersMax, kAnyTime);
  bool over = false;
  std::vector<std::unique_ptr<Busy>> busy;
  for (int i = 0; i < 20 * io::Loop::kAgainPerTurn; i++) {
    busy.push_back(std::make_unique<Busy>(loop, over));
  }
  Maker maker(loop, *handshakes.batch());
  loop.post([&] { maker.start(); });
  const std::function<void()> look = [&] {
    over = maker.ended() != 0;
    over ? loop.stop() : loop.post(look);
  };
  loop.post(look);
  loop.run();
  CHECK(maker.ended() == maker.begun() + 1);
}

TEST_CASE("who is behind gathers no more, though each turn brings a handshake") {
  // A step of this one takes all of a turn's time.
  constexpr Work kSlow = {20, HandshakeBatch::kNanosecondsPerTurn};
  io::Loop loop;
  HandshakeBatch handshakes(loop, crypto::Mode::kScalar, kFibersMax);
  std::vector<std::unique_ptr<Maker>> makers;
  const std::function<void()> turn = [&] {
    if (makers.size() == kFibersMax || (!makers.empty() && makers.front()->ended() != 0)) {
      loop.stop();
      return;
    }
    const Work work = makers.empty() ? kSlow : Work{};
    makers.push_back(std::make_unique<Maker>(loop, *handshakes.batch(), work));
    makers.back()->start();
    loop.post(turn);
  };
  loop.post(turn);
  loop.run();
  while (!handshakes.batch()->settle(UINT64_MAX)) {
  }
  REQUIRE(makers.front()->ended() != 0);
  // Three steps at most belong to each operation; who gathers uses one turn of five.
  CHECK(makers.front()->ended() <= makers.front()->begun() + 4 * kSlow.operations);
}

/// Notes whether its turn's end comes before a handshake is computed.
struct Flushed final : io::Task {
  const Maker& maker;
  bool before = false;

  explicit Flushed(const Maker& makerIn) : maker(makerIn) {}
  void onTurnEnd() override { before = maker.ended() == 0; }
};

TEST_CASE("what a turn has for open connections goes out before handshakes are computed") {
  io::Loop loop;
  HandshakeBatch handshakes(loop, crypto::Mode::kScalar, kFibersMax, kAnyTime);
  Maker maker(loop, *handshakes.batch());
  Flushed flushed(maker);
  uint64_t flushTurn = 0;
  loop.post([&] {
    maker.start();
    loop.post([&] {
      flushTurn = loop.turns();
      loop.atTurnEnd(&flushed);
      loop.post([&] { loop.stop(); });
    });
  });
  loop.run();
  CHECK(maker.ended() == flushTurn);
  CHECK(flushed.before);
}

}  // namespace
}  // namespace weft::proxy
