// SPDX-License-Identifier: Apache-2.0
// Thousands of handshakes at once, many of which go wrong: each ends as it does by itself.
//
// WEFT_STORM_ROUNDS=25 makes it 10^5 handshakes in each mode.
#include <cstdlib>
#include <random>

#include "tls/batched_ends.h"

namespace weft::test {
namespace {

constexpr size_t kAtOnce = 4096;
constexpr size_t kFibersMax = 2048;

enum class Fate { kFine, kAborts, kReset, kStalls, kStranger, kUnexpected, kGarbled, kCount };

// What becomes of one handshake, chosen beforehand.
struct Script {
  Fate fate = Fate::kFine;
  int at = 0;       // the flight at which it happens
  size_t byte = 0;  // of a flight that is garbled
};

struct Outcome {
  bool clientDone = false;
  bool serverDone = false;
  std::string client;
  std::string server;
  bool operator==(const Outcome&) const = default;
};

struct Identities {
  TestCa ca;
  TestCa other;
  std::shared_ptr<const Identity> client = ca.identity(kWeb);
  std::shared_ptr<const Identity> server = ca.identity(kCart);
  std::shared_ptr<const Identity> stranger = other.identity(kWeb);
};

class Play {
 public:
  Play(const Identities& identities, crypto::Batch* batch, const Script& script)
      : script_(script),
        pair_(SessionRow::kRecord, batch,
              script.fate == Fate::kStranger ? identities.stranger : identities.client,
              identities.server, script.fate == Fate::kUnexpected ? kWeb : kCart) {}

  // False when nothing can move any more, but for what waits for the batch.
  bool step() { return carry(pair_.client, pair_.server) || carry(pair_.server, pair_.client); }
  bool waits() const {
    return (pair_.client.session != nullptr && pair_.client.session->waits()) ||
           (pair_.server.session != nullptr && pair_.server.session->waits());
  }
  // Of an end that went in the middle of it nothing is asked: by itself it would have been done.
  Outcome outcome() const {
    return {pair_.client.done && script_.fate != Fate::kAborts,
            pair_.server.done && script_.fate != Fate::kReset, pair_.client.status.message(),
            pair_.server.status.message()};
  }

 private:
  bool carry(BatchedEnd& from, BatchedEnd& to) {
    if (from.session == nullptr || from.session->outgoing().empty() || stalled_ ||
        (to.session != nullptr && to.session->waits())) {
      return false;
    }
    Bytes bytes = from.take();
    const bool here = flights_++ == script_.at;
    if (here && script_.fate == Fate::kGarbled) {
      bytes[script_.byte % bytes.size()] ^= 0x55;
    }
    if (to.open()) {
      to.receive(bytes);
    }
    // At once, while what it just took is computed.
    if (here && script_.fate == Fate::kAborts) {
      pair_.client.session.reset();
    } else if (here && script_.fate == Fate::kReset) {
      pair_.server.session.reset();
    }
    stalled_ = here && script_.fate == Fate::kStalls;
    return true;
  }

  const Script script_;
  BatchedPair pair_;
  int flights_ = 0;
  bool stalled_ = false;
};

std::vector<Script> scripts(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Script> all(kAtOnce);
  for (Script& script : all) {
    // Half of them are fine.
    const uint32_t fate = random() % (2 * static_cast<uint32_t>(Fate::kCount));
    script.fate =
        fate < static_cast<uint32_t>(Fate::kCount) ? static_cast<Fate>(fate) : Fate::kFine;
    script.at = static_cast<int>(random() % 4);
    // Before anything whose length is by chance, as that of a signature.
    script.byte = random() % 100;
  }
  return all;
}

std::vector<Outcome> play(const Identities& identities, crypto::Mode mode, uint32_t seed) {
  std::unique_ptr<crypto::Batch> batch;
  if (mode != crypto::Mode::kOff) {
    batch = std::make_unique<crypto::Batch>(mode, crypto::breakEvens(threadNanos), kFibersMax,
                                            monotonicNanos, [] {});
  }
  std::vector<std::unique_ptr<Play>> plays;
  for (const Script& script : scripts(seed)) {
    plays.push_back(std::make_unique<Play>(identities, batch.get(), script));
  }
  std::mt19937 random(seed);
  bool everybody = true;
  for (bool moved = true; moved || !everybody;) {
    // Some wait longer for their turn than others; when nothing moved, nobody may be left out.
    everybody = !moved;
    moved = false;
    for (const auto& one : plays) {
      if (everybody || random() % 4 != 0) {
        moved = one->step() || moved;
      }
    }
    if (batch != nullptr) {
      moved = !batch->settle(200'000) || moved;
    }
  }
  std::vector<Outcome> outcomes;
  for (auto& one : plays) {
    CHECK_FALSE(one->waits());
    outcomes.push_back(one->outcome());
    one.reset();
  }
  return outcomes;
}

TEST_CASE("a storm of handshakes ends as each does by itself") {
  const Identities identities;
  const char* const asked = std::getenv("WEFT_STORM_ROUNDS");
  const uint32_t rounds = asked == nullptr ? 1 : static_cast<uint32_t>(std::atoi(asked));
  const crypto::Mode mode =
      crypto::avx512Kernels() == nullptr ? crypto::Mode::kScalar : crypto::Mode::kAvx512;
  for (uint32_t round = 0; round < rounds; round++) {
    CAPTURE(round);
    const std::vector<Outcome> alone = play(identities, crypto::Mode::kOff, round);
    const std::vector<Outcome> gathered = play(identities, mode, round);
    size_t fine = 0;
    size_t different = 0;
    for (size_t i = 0; i < alone.size(); i++) {
      fine += gathered[i].clientDone && gathered[i].serverDone ? 1 : 0;
      if (gathered[i] != alone[i] && different++ < 5) {
        CHECK_MESSAGE(gathered[i].client == alone[i].client, i);
        CHECK_MESSAGE(gathered[i].server == alone[i].server, i);
        CHECK(gathered[i].clientDone == alone[i].clientDone);
        CHECK(gathered[i].serverDone == alone[i].serverDone);
      }
    }
    CHECK(different == 0);
    CHECK(fine > kAtOnce / 2);
    CHECK(fine < kAtOnce);
  }
}

}  // namespace
}  // namespace weft::test
