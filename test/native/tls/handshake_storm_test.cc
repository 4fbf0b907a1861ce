// SPDX-License-Identifier: Apache-2.0
// Thousands of handshakes at once, many of which go wrong: each ends as it does by itself.
//
// WEFT_STORM_ROUNDS=25 makes it more than 10^5 handshakes in lanes, 4,096 at once, and as many one
// operation at a time; without it there is one round, of half as many. WEFT_STORM_FIRST=20 begins
// with the round of that number, for one that failed, or in parts.
#include <cstdlib>
#include <random>

#include "tls/batched_ends.h"

namespace weft::test {
namespace {

using tls::SessionStore;
using tls::StoredSession;
using tls::TicketKeys;

constexpr size_t kAtOnce = 4096;
// Every end of them may wait.
constexpr size_t kFibersForAll = 2 * kAtOnce;
// Of these the most have to compute by themselves.
constexpr size_t kAtOnceOfMany = 512;
constexpr size_t kFibersForFew = 128;
// A handshake by itself ends the same however many are played.
constexpr size_t kAlone = 512;

// Whatever a sanitizer makes of their speed: so that kernels compute, and the library the rest.
constexpr uint8_t kLanesWorthIt = 3;

constexpr const char* kWay = "to cart";

enum class Fate { kFine, kAborts, kReset, kStalls, kStranger, kUnexpected, kGarbled, kCount };

// How the two know each other, and what they sign with.
enum class Kind { kFull, kResumes, kRsaClient, kRsaServer };

// What becomes of one handshake, chosen beforehand.
struct Script {
  Kind kind = Kind::kFull;
  Fate fate = Fate::kFine;
  int at = 0;       // the flight at which it happens
  size_t byte = 0;  // of a flight that is garbled
};

struct EndOutcome {
  bool done = false;
  bool resumed = false;
  std::string peer;
  std::string status;
  bool operator==(const EndOutcome&) const = default;
};

struct Outcome {
  EndOutcome client;
  EndOutcome server;
  bool operator==(const Outcome&) const = default;
  bool done() const { return client.done && server.done; }
};

struct Identities {
  TestCa ca;
  TestCa other;
  std::shared_ptr<const Identity> client = ca.identity(kWeb);
  std::shared_ptr<const Identity> server = ca.identity(kCart);
  std::shared_ptr<const Identity> rsaClient = ca.identity(kWeb, {}, KeyKind::kRsa2048);
  std::shared_ptr<const Identity> rsaServer = ca.identity(kCart, {}, KeyKind::kRsa2048);
  std::shared_ptr<const Identity> stranger = other.identity(kWeb);
  std::shared_ptr<TicketKeys> ticketKeys = std::make_shared<TicketKeys>();
  StoredSession met = meet();  // of an earlier connection of client and server

  StoredSession meet() const {
    SessionStore store;
    BatchedPair pair(SessionRow::kRecord, nullptr, client, server, kCart, ticketKeys,
                     {&store, kWay});
    while (step(pair)) {
    }
    std::optional<StoredSession> kept = store.take(kWay);
    need(kept.has_value());
    return std::move(*kept);
  }
  const std::shared_ptr<const Identity>& clientOf(const Script& script) const {
    return script.fate == Fate::kStranger    ? stranger
           : script.kind == Kind::kRsaClient ? rsaClient
                                             : client;
  }
  const std::shared_ptr<const Identity>& serverOf(const Script& script) const {
    return script.kind == Kind::kRsaServer ? rsaServer : server;
  }
};

class Play {
 public:
  Play(const Identities& identities, crypto::Batch* batch, const Script& script)
      : script_(script), resumes_(script.kind == Kind::kResumes) {
    if (resumes_) {
      const StoredSession& met = identities.met;
      store_.put(kWay, {bssl::UpRef(met.session), met.peer, met.expirySeconds, met.identityEpoch});
    }
    pair_.emplace(SessionRow::kRecord, batch, identities.clientOf(script),
                  identities.serverOf(script), script.fate == Fate::kUnexpected ? kWeb : kCart,
                  resumes_ ? identities.ticketKeys : nullptr,
                  resumes_ ? tls::Resumption{&store_, kWay} : tls::Resumption());
  }

  // False when nothing can move any more, but for what waits for the batch.
  bool step() { return carry(pair_->client, pair_->server) || carry(pair_->server, pair_->client); }
  bool waits() const { return waits(pair_->client) || waits(pair_->server); }
  // Of an end that went in the middle of it nothing is asked: by itself it would have been done.
  Outcome outcome() const {
    return {outcomeOf(pair_->client, script_.fate == Fate::kAborts),
            outcomeOf(pair_->server, script_.fate == Fate::kReset)};
  }

 private:
  static bool waits(const BatchedEnd& end) {
    return end.session != nullptr && end.session->waits();
  }
  static EndOutcome outcomeOf(const BatchedEnd& end, bool went) {
    if (went || !end.done) {
      return {false, false, "", end.status.message()};
    }
    return {true, end.session->resumed(), end.session->peer().id.text, end.status.message()};
  }
  bool carry(BatchedEnd& from, BatchedEnd& to) {
    if (from.session == nullptr || from.session->outgoing().empty() || stalled_ || waits(to)) {
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
      pair_->client.session.reset();
    } else if (here && script_.fate == Fate::kReset) {
      pair_->server.session.reset();
    }
    stalled_ = here && script_.fate == Fate::kStalls;
    return true;
  }

  const Script script_;
  const bool resumes_;
  SessionStore store_;
  std::optional<BatchedPair> pair_;
  int flights_ = 0;
  bool stalled_ = false;
};

using Plays = std::vector<std::unique_ptr<Play>>;

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
    const uint32_t kind = random() % 16;
    script.kind = kind < 4    ? Kind::kResumes
                  : kind == 4 ? Kind::kRsaClient
                  : kind == 5 ? Kind::kRsaServer
                              : Kind::kFull;
  }
  return all;
}

void playOut(const Plays& plays, crypto::Batch* batch, uint32_t seed) {
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
      moved = !batch->settle(2'000'000) || moved;
    }
  }
}

struct Way {
  crypto::Mode mode;
  size_t pairs;  // the first of the storm's
  size_t fibersMax = kFibersForAll;
};

// That it was played as it should.
void checkTotals(const crypto::BatchTotals& totals, const Way& way) {
  using crypto::Operation;
  CHECK((totals.inlined.get() > 0) == (way.fibersMax < 2 * way.pairs));
  for (const Operation operation : {Operation::kX25519Derive, Operation::kX25519Keygen,
                                    Operation::kEcdsaVerify, Operation::kEcdsaSign}) {
    CAPTURE(nameOf(operation));
    const auto& one = totals.operations[static_cast<size_t>(operation)];
    CHECK((one.calls[crypto::kLanes - 1].get() > 0) == (kernelsOf(way.mode) != nullptr));
  }
}

std::vector<Outcome> play(const Identities& identities, const Way& way, uint32_t seed) {
  std::unique_ptr<crypto::Batch> batch;
  if (way.mode != crypto::Mode::kOff) {
    crypto::BreakEvens worthIt{};
    worthIt.lanes.fill(kLanesWorthIt);
    batch =
        std::make_unique<crypto::Batch>(way.mode, worthIt, way.fibersMax, monotonicNanos, [] {});
  }
  Plays plays;
  for (const Script& script : scripts(seed)) {
    if (plays.size() < way.pairs) {
      plays.push_back(std::make_unique<Play>(identities, batch.get(), script));
    }
  }
  playOut(plays, batch.get(), seed);
  if (batch != nullptr) {
    checkTotals(batch->totals(), way);
  }
  std::vector<Outcome> outcomes;
  for (auto& one : plays) {
    CHECK_FALSE(one->waits());
    outcomes.push_back(one->outcome());
    one.reset();
  }
  return outcomes;
}

// One by one, as far as both were played.
void checkSame(const std::vector<Outcome>& some, const std::vector<Outcome>& others) {
  size_t different = 0;
  for (size_t i = 0; i < std::min(some.size(), others.size()); i++) {
    if (some[i] != others[i] && different++ < 5) {
      CAPTURE(i);
      CHECK(some[i].client.status == others[i].client.status);
      CHECK(some[i].server.status == others[i].server.status);
      CHECK(some[i].client.peer == others[i].client.peer);
      CHECK(some[i].server.peer == others[i].server.peer);
      CHECK(some[i].client.resumed == others[i].client.resumed);
      CHECK(some[i].server.resumed == others[i].server.resumed);
    }
  }
  CHECK(different == 0);
}

// That all there is to compare was there.
void checkMixed(const std::vector<Outcome>& outcomes) {
  const auto count = [&](const auto& fits) {
    return static_cast<size_t>(std::count_if(outcomes.begin(), outcomes.end(), fits));
  };
  const size_t done = count([](const Outcome& one) { return one.done(); });
  CHECK(done > outcomes.size() / 2);
  CHECK(done < outcomes.size());
  CHECK(count([](const Outcome& one) { return one.done() && one.client.resumed; }) >
        outcomes.size() / 10);
}

uint32_t numberOf(const char* variable, uint32_t otherwise) {
  const char* const asked = std::getenv(variable);
  return asked == nullptr ? otherwise : static_cast<uint32_t>(std::atoi(asked));
}

TEST_CASE("a storm of handshakes ends as each does by itself") {
  using crypto::Mode;
  const Identities identities;
  const uint32_t first = numberOf("WEFT_STORM_FIRST", 0);
  const uint32_t rounds = numberOf("WEFT_STORM_ROUNDS", 1);
  const size_t atOnce = std::getenv("WEFT_STORM_ROUNDS") == nullptr ? kAtOnce / 2 : kAtOnce;
  const Mode mode = crypto::chooseMode(crypto::gatheringMode()).value();
  for (uint32_t round = first; round < first + rounds; round++) {
    CAPTURE(round);
    const std::vector<Outcome> gathered = play(identities, {mode, atOnce}, round);
    checkMixed(gathered);
    // Where one operation at a time is the mode under test, the library alone is what it has to be.
    const Mode plain = mode == Mode::kScalar ? Mode::kOff : Mode::kScalar;
    checkSame(gathered, play(identities, {plain, atOnce}, round));
    checkSame(gathered, play(identities, {mode, kAtOnceOfMany, kFibersForFew}, round));
    checkSame(gathered, play(identities, {Mode::kOff, kAlone}, round));
  }
}

}  // namespace
}  // namespace weft::test
