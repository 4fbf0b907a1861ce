// SPDX-License-Identifier: Apache-2.0
#include "crypto/batch.h"

#include <doctest/doctest.h>
#include <openssl/curve25519.h>
#include <openssl/err.h>

#include "base/clock.h"
#include "crypto/gathering.h"

namespace weft::crypto {
namespace {

/// Code on a fiber that makes keys, one after the other.
struct Maker final : FiberOwner {
  Batch& batch;
  int wanted;
  int made = 0;
  int told = 0;
  std::function<void()> whenTold = [] {};
  Batch::Run* run = nullptr;

  Maker(Batch& batchIn, int count) : batch(batchIn), wanted(count) {}
  void start() {
    run = batch.start(
        [this] {
          for (int i = 0; i < wanted; i++) {
            if (!makeOne(static_cast<uint8_t>(i + 1))) {
              return;
            }
          }
        },
        *this);
  }
  void onFiberEnd() override {
    told++;
    run = nullptr;
    whenTold();
  }

 private:
  bool makeOne(uint8_t seed) {
    X25519Keygen keygen{};
    const auto prepare = [&] {
      keygen.privateKey.fill(seed);
      return true;
    };
    const Answer answer = Batch::current()->compute(Operation::kX25519Keygen, keygen, prepare);
    if (answer == Answer::kAlone) {
      prepare();
      X25519Keygen* const one = &keygen;
      batch.alone(Operation::kX25519Keygen, [&] {
        portableKernels().x25519Keygen(std::span<X25519Keygen* const>(&one, 1));
        return 0;
      });
    }
    Bytes32 right{};
    X25519_public_from_private(right.data(), keygen.privateKey.data());
    made += answer != Answer::kAbandoned && keygen.publicKey == right ? 1 : 0;
    return answer != Answer::kAbandoned;
  }
};

struct Counted {
  int wanted = 0;
  Batch batch;

  explicit Counted(size_t fibersMax = 100)
      : batch(Mode::kScalar, BreakEvens::never(), fibersMax, monotonicNanos, [this] { wanted++; }) {
  }
  uint64_t computed() const {
    return batch.totals().operations[static_cast<size_t>(Operation::kX25519Keygen)].scalar.get();
  }
};

TEST_CASE("a lone body is computed by settle(), and its owner told once") {
  Counted c;
  Maker maker(c.batch, 3);
  maker.start();
  CHECK(maker.run != nullptr);
  CHECK(Batch::current() == nullptr);
  CHECK(c.wanted == 1);
  CHECK(c.computed() == 0);
  CHECK(c.batch.settle(UINT64_MAX));
  CHECK(c.computed() == 3);
  CHECK(maker.made == 3);
  CHECK(maker.told == 1);
  CHECK(c.batch.settle(UINT64_MAX));
  CHECK(maker.told == 1);
}

TEST_CASE("a body that asks for nothing ends at once, and nobody is told") {
  Counted c;
  Maker maker(c.batch, 0);
  maker.start();
  CHECK(maker.run == nullptr);
  CHECK(maker.told == 0);
  CHECK(c.wanted == 0);
}

void computesWhatIsFull(Mode mode) {
  BreakEvens always{};
  always.lanes.fill(1);
  Batch batch(mode, always, 100, monotonicNanos, [] {});
  const auto& totals = batch.totals().operations[static_cast<size_t>(Operation::kX25519Keygen)];
  std::vector<std::unique_ptr<Maker>> makers;
  for (size_t i = 0; i < kLanes; i++) {
    CHECK(totals.calls[kLanes - 1].get() == 0);
    makers.push_back(std::make_unique<Maker>(batch, 1));
    makers.back()->start();
  }
  CHECK(totals.calls[kLanes - 1].get() == 1);
  // But nothing goes on inside of somebody else's start().
  CHECK(makers.front()->told == 0);
  CHECK(batch.settle(UINT64_MAX));
  for (const auto& maker : makers) {
    CHECK(maker->told == 1);
    CHECK(maker->made == 1);
  }
  CHECK(totals.scalar.get() == 0);
}

TEST_CASE("a queue that is full is computed before anybody settles") {
  for (const Mode mode : gatheringModes()) {
    CAPTURE(nameOf(mode));
    computesWhatIsFull(mode);
  }
}

void fillsLanes(Mode mode) {
  BreakEvens fromThree = BreakEvens::never();
  fromThree.lanes[static_cast<size_t>(Operation::kX25519Keygen)] = 3;
  Batch batch(mode, fromThree, 100, monotonicNanos, [] {});
  const auto& totals = batch.totals().operations[static_cast<size_t>(Operation::kX25519Keygen)];
  std::vector<std::unique_ptr<Maker>> makers;
  // The first two want one more than the third.
  for (const int wanted : {2, 2, 1}) {
    makers.push_back(std::make_unique<Maker>(batch, wanted));
    makers.back()->start();
  }
  CHECK(batch.settle(UINT64_MAX));
  CHECK(totals.calls[2].get() == 1);
  CHECK(totals.scalar.get() == 2);
  CHECK(makers[0]->made + makers[1]->made + makers[2]->made == 5);
}

TEST_CASE("lanes are filled as far as it goes, and fewer than are worth it are done alone") {
  for (const Mode mode : gatheringModes()) {
    CAPTURE(nameOf(mode));
    fillsLanes(mode);
  }
}

// Whether one is made after as many were asked for as are made at once.
bool makesShares(Mode mode, const BreakEvens& breakEvens) {
  // Time stands still: seconds can pass where the library gathers its first entropy, and shares of
  // before them are too old.
  const Clock still = [] { return uint64_t{1}; };
  Batch batch(mode, breakEvens, 100, still, [] {});
  X25519Keygen share{};
  CHECK_FALSE(batch.makeShares());
  for (size_t i = 0; i < kLanes; i++) {
    CHECK_FALSE(batch.takeShare(share));
  }
  const bool made = batch.makeShares();
  CHECK(batch.takeShare(share) == made);
  CHECK(batch.totals().keyShares.get() == (made ? kLanes : 0));
  if (made) {
    Bytes32 right{};
    X25519_public_from_private(right.data(), share.privateKey.data());
    CHECK(share.publicKey == right);
  }
  return made;
}

TEST_CASE("key shares are made when they were asked for, where kernels are worth it") {
  BreakEvens always{};
  always.lanes.fill(1);
  for (const Mode mode : gatheringModes()) {
    CAPTURE(nameOf(mode));
    CHECK(makesShares(mode, always));
    CHECK_FALSE(makesShares(mode, BreakEvens::never()));
  }
  CHECK_FALSE(makesShares(Mode::kScalar, always));
}

TEST_CASE("settle() stops when its time is used up, and goes on where it was") {
  Counted c;
  Maker maker(c.batch, 5);
  maker.start();
  int rounds = 1;
  while (!c.batch.settle(1)) {
    CHECK(c.wanted == 1);  // who asked to settle knows that there is more
    rounds++;
  }
  CHECK(rounds == 10);  // each is decided in one, and done in the next
  CHECK(maker.told == 1);
  Maker next(c.batch, 1);
  next.start();
  CHECK(c.wanted == 2);
  CHECK(c.batch.settle(UINT64_MAX));
}

TEST_CASE("one that is abandoned ends at once, and nobody is told") {
  Counted c;
  Maker waiting(c.batch, 2);
  Maker kept(c.batch, 2);
  waiting.start();
  kept.start();
  c.batch.abandon(waiting.run);
  CHECK(waiting.made == 0);
  CHECK(c.batch.settle(UINT64_MAX));
  CHECK(waiting.told == 0);
  CHECK(kept.made == 2);
  CHECK(c.computed() == 2);
}

TEST_CASE("one that is computed but has not gone on can be abandoned, also by another's owner") {
  Counted c;
  std::vector<std::unique_ptr<Maker>> makers;
  for (size_t i = 0; i < kLanes; i++) {
    makers.push_back(std::make_unique<Maker>(c.batch, 1));
  }
  makers.front()->whenTold = [&] {
    for (size_t i = 1; i < kLanes; i++) {
      c.batch.abandon(makers[i]->run);
    }
  };
  for (const auto& maker : makers) {
    maker->start();
  }
  CHECK(c.batch.settle(UINT64_MAX));
  CHECK(makers.front()->told == 1);
  for (size_t i = 1; i < kLanes; i++) {
    CHECK(makers[i]->told == 0);
  }
}

TEST_CASE("an owner may start the next from within settle()") {
  Counted c;
  Maker second(c.batch, 2);
  Maker first(c.batch, 1);
  first.whenTold = [&] { second.start(); };
  first.start();
  CHECK(c.batch.settle(UINT64_MAX));
  CHECK(second.told == 1);
  CHECK(second.made == 2);
  CHECK(c.wanted == 1);
}

TEST_CASE("errors that work outside of a fiber left are none of the next one's") {
  Counted c;
  uint32_t seen = 1;
  struct Reader final : FiberOwner {
    void onFiberEnd() override {}
  } reader;
  c.batch.start(
      [&] {
        X25519Keygen keygen{};
        Batch::current()->compute(Operation::kX25519Keygen, keygen, [] { return true; });
        seen = ERR_peek_error();
        ERR_put_error(ERR_LIB_SSL, 0, 7, "body", 1);
      },
      reader);
  ERR_put_error(ERR_LIB_SSL, 0, 8, "outside", 1);
  CHECK(c.batch.settle(UINT64_MAX));
  CHECK(seen == 0);
  CHECK(ERR_peek_error() == 0);
}

TEST_CASE("the fullest queue is computed first") {
  Counted c;
  std::vector<Operation> order;
  struct Deriver final : FiberOwner {
    void onFiberEnd() override {}
  } deriver;
  Batch::Run* const derives = c.batch.start(
      [&] {
        X25519Derive derive{};
        Batch::current()->compute(Operation::kX25519Derive, derive, [] { return true; });
        order.push_back(Operation::kX25519Derive);
      },
      deriver);
  REQUIRE(derives != nullptr);
  Maker one(c.batch, 1);
  Maker two(c.batch, 1);
  two.whenTold = [&] { order.push_back(Operation::kX25519Keygen); };
  one.start();
  two.start();
  CHECK(c.batch.settle(UINT64_MAX));
  CHECK(order == std::vector<Operation>{Operation::kX25519Keygen, Operation::kX25519Derive});
}

/// One derivation among many keys.
struct Deriver final : FiberOwner {
  Batch::Run* run;

  Deriver(Batch& batch, const std::function<void()>& done) {
    run = batch.start(
        [done] {
          X25519Derive derive{};
          Batch::current()->compute(Operation::kX25519Derive, derive, [] { return true; });
          done();
        },
        *this);
  }
  void onFiberEnd() override {}
};

/// How many keys `makers` at a time, who want `each`, had when the one derivation that was asked
/// for before went on.
int madeBeforeDerived(size_t makers, int each) {
  Counted c;
  std::vector<std::unique_ptr<Maker>> all;
  int before = -1;
  const Deriver deriver(c.batch, [&] {
    before = 0;
    for (const auto& one : all) {
      before += one->made;
    }
  });
  for (size_t i = 0; i < makers; i++) {
    all.push_back(std::make_unique<Maker>(c.batch, each));
    all.back()->start();
  }
  CHECK(c.batch.settle(UINT64_MAX));
  for (const auto& one : all) {
    CHECK(one->made == each);
  }
  return before;
}

TEST_CASE("a queue is passed over so many times, and not once more") {
  constexpr int kMost = Batch::kPassedOverMax;
  // Two keys at a time are more than one derivation, each time.
  CHECK(madeBeforeDerived(2, kMost - 1) == 2 * (kMost - 1));
  CHECK(madeBeforeDerived(2, kMost) == 2 * kMost);
  CHECK(madeBeforeDerived(2, kMost + 1) == 2 * kMost);
  CHECK(madeBeforeDerived(2, 3 * kMost) == 2 * kMost);
}

TEST_CASE("a queue waits no longer where others are full all the time") {
  constexpr int kMost = Batch::kPassedOverMax;
  const int before = madeBeforeDerived(kLanes, 3 * kMost);
  CHECK(before == static_cast<int>(kLanes) * kMost);
  CHECK(madeBeforeDerived(3 * kLanes, kMost) <= static_cast<int>(kLanes) * (kMost + 1));
}

TEST_CASE("without a stack left a body runs to its end on its caller's, and is counted") {
  Counted c(1);
  Maker first(c.batch, 1);
  first.start();
  bool alone = false;
  CHECK(c.batch.start([&] { alone = Batch::current() == nullptr; }, first) == nullptr);
  CHECK(alone);
  CHECK(c.batch.totals().inlined.get() == 1);
  CHECK(c.batch.settle(UINT64_MAX));
  CHECK(first.made == 1);
}

}  // namespace
}  // namespace weft::crypto
