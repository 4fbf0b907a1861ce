// SPDX-License-Identifier: Apache-2.0
// Handshakes that wait to be computed when something ends them, and those that wait beside them.
// Needs root.
//
// Each comes while they wait on any machine: what arrives while the worker is held it takes in its
// next turn, if it is no more than a turn takes, and what begins to wait in a turn is computed at
// the end of the next one at the earliest. So what that one begins with finds it waiting.
// clang-format off
#include "proxy/one_pod.h"

#include "crypto/gathering.h"
#include <doctest/doctest.h>
// clang-format on

using namespace weft::test;
using weft::Counter;
using weft::Status;
using weft::UniqueFd;
using weft::crypto::BatchTotals;
using weft::crypto::Mode;
using weft::crypto::Operation;
using weft::http::StreamId;

namespace {

/// Fewer than fill a queue, which would be computed at once, and all that are new in a turn.
constexpr size_t kNeighbours = weft::io::Loop::kNewPerTurn - 1;
constexpr size_t kAtOnce = kNeighbours + 1;
constexpr uint16_t kTunnelPort = 15008;

using Peers = std::vector<std::unique_ptr<HbonePeer>>;

/// The worker, as long as it stands still in the midst of a turn.
class Held {
 public:
  explicit Held(Engine& engine) {
    auto stopped = std::make_shared<std::promise<void>>();
    engine.snapshot([stopped, go = go_.get_future().share()](const std::string&) {
      stopped->set_value();
      go.wait();
    });
    stopped->get_future().wait();
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { go_.set_value(); }

 private:
  std::promise<void> go_;
};

/// Runs `work` on the worker's thread, in its next turn: what that posts comes in the one after it.
void inNextTurn(Engine& engine, const std::function<void()>& work) {
  engine.snapshot([work](const std::string&) { work(); });
}

/// Waits until something is posted to a loop that stands still: its eventfd counts that. False when
/// nothing is.
bool untilPosted() {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(kWaitSeconds);
  while (std::chrono::steady_clock::now() < until) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
      std::ifstream lines(entry.path());
      for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("eventfd-count:") && line.find_first_not_of(" 0", 14) != line.npos) {
          return true;
        }
      }
    }
  }
  return false;
}

/// TCP connections that the namespace's kernel holds open at the port for tunnels.
size_t openTunnels(const NetworkNamespace& ns) {
  size_t open = 0;
  std::thread([&] {
    need(::setns(ns.fd().get(), CLONE_NEWNET) == 0);
    for (const char* table : {"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"}) {
      std::ifstream lines(table);
      for (std::string line; std::getline(lines, line);) {
        std::istringstream fields(line);
        std::string number;
        std::string local;
        std::string remote;
        std::string state;
        fields >> number >> local >> remote >> state;
        open += local.ends_with(":3AA0") && state == "01" ? 1 : 0;
      }
    }
  }).join();
  return open;
}

Settings waitingSettings() {
  Settings settings = settingsOf(1);
  settings.crypto = weft::crypto::gatheringMode();
  settings.limits.handshakeFibers = kAtOnce;
  return settings;
}

/// Two pods of one worker, and their clients.
class Node {
 public:
  static std::unique_ptr<Node> make(const Settings& settings = waitingSettings()) {
    auto first = newNamespace();
    auto second = newNamespace();
    if (!first || !second) {
      return nullptr;
    }
    auto node = std::make_unique<Node>(std::move(*first), std::move(*second), settings);
    if (node->mesh.engine->cryptoMode() == Mode::kOff) {
      MESSAGE("left out: the environment wants no fibers, so no handshake waits");
      return nullptr;
    }
    return node;
  }
  Node(NetworkNamespace first, NetworkNamespace second, const Settings& settings)
      : ns(std::move(first)), secondNs(std::move(second)), mesh(ns, settings), app(ns) {
    mesh.start();
    need(mesh.addPod("second", secondNs).ok());
  }

  Engine& engine() { return *mesh.engine; }
  const BatchTotals& totals() { return *engine().handshakeTotals().front(); }
  uint64_t computed(Operation operation) {
    const BatchTotals::One& one = totals().operations[static_cast<size_t>(operation)];
    uint64_t sum = one.scalar.get();
    for (size_t i = 0; i < one.calls.size(); i++) {
      sum += one.calls[i].get() * (i + 1);
    }
    return sum;
  }

  /// Clients of the pod in `of` whose own last flight is what their handshakes lack: with it the
  /// proxy has two signatures to verify.
  Peers greeted(size_t count, const NetworkNamespace& of) {
    Peers peers;
    for (size_t i = 0; i < count; i++) {
      peers.push_back(std::make_unique<HbonePeer>(of, mesh.identity(kWeb), kCart));
      CHECK(peers.back()->hears());
    }
    return peers;
  }
  /// They say it, all at once where the worker is held.
  static void conclude(const Peers& peers) {
    for (const auto& peer : peers) {
      CHECK(peer->ready());
      CHECK(peer->delivered());
    }
  }
  bool serves(const Peers& peers) {
    return std::all_of(peers.begin(), peers.end(),
                       [&](const auto& peer) { return peer->ask(app.authority()) == 200; });
  }
  /// True when as many handshakes as there are fibers can wait at once, once more.
  bool hasAllFibers() {
    const Peers peers = greeted(kAtOnce, ns);
    {
      const Held held(engine());
      conclude(peers);
    }
    return serves(peers) && totals().inlined.get() == 0;
  }

  NetworkNamespace ns;
  NetworkNamespace secondNs;
  Mesh mesh;
  App app;
};

/// What a client has heard when its handshake ends without an answer.
struct Unanswered {
  const HbonePeer& peer;
  const uint32_t segments = peer.segments();

  bool still() const { return peer.segments() == segments; }
};

}  // namespace

TEST_CASE("a handshake that waits leaves at once when its time is over, and its neighbours stay") {
  constexpr int kTimeoutMs = 4000;
  constexpr int kToDialMs = 1000;
  Settings settings = waitingSettings();
  settings.handshakeTimeoutMs = kTimeoutMs;
  const auto node = Node::make(settings);
  if (!node) {
    return;
  }
  const auto dialled = [&](size_t accepted) {
    Line line = dial(node->ns, "127.0.0.1", kTunnelPort);
    CHECK(node->mesh.reaches(Counter::kTunnelsAccepted, accepted));
    return line;
  };
  const auto greets = [&](Line line) {
    auto peer = std::make_unique<HbonePeer>(std::move(line), node->mesh.identity(kWeb), kCart);
    CHECK(peer->delivered());
    return peer;
  };
  Line first = dialled(1);
  const uint64_t over = weft::monotonicMillis() + kTimeoutMs + 1;
  // Time is the subject: the neighbours have most of it left when the first has none.
  CHECK(first.quietFor(kTimeoutMs - kToDialMs));
  std::vector<Line> lines;
  for (size_t i = 0; i < kNeighbours; i++) {
    lines.push_back(dialled(2 + i));
  }
  std::unique_ptr<HbonePeer> late;
  Peers neighbours;
  {
    const Held held(node->engine());
    while (weft::monotonicMillis() <= over) {
      CHECK(first.quietFor(1));
    }
    late = greets(std::move(first));
    for (Line& line : lines) {
      neighbours.push_back(greets(std::move(line)));
    }
  }
  CHECK(late->untilClosed());
  CHECK(node->serves(neighbours));
  CHECK(node->computed(Operation::kX25519Derive) == kNeighbours);
  CHECK(node->computed(Operation::kEcdsaSign) == kNeighbours);
  const auto refused = node->mesh.event(EventKind::kRefused);
  REQUIRE(refused.has_value());
  CHECK(refused->detail == "the TLS handshake took too long");
  CHECK(node->mesh.count(Counter::kTunnelsTimedOut) == 1);
  CHECK(node->hasAllFibers());
}

TEST_CASE("a handshake that waits leaves at once when its pod does, and other pods' stay") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  const Peers leaving = node->greeted(1, node->secondNs);
  const Peers neighbours = node->greeted(kNeighbours, node->ns);
  const Unanswered answer{*leaving.front()};
  const Status removed = Mesh::waitFor([&](const Engine::Done& done) {
    const Held held(node->engine());
    Node::conclude(neighbours);
    Node::conclude(leaving);
    inNextTurn(node->engine(), [&, done] { node->engine().removePod("second", done); });
  });
  CHECK(removed.ok());
  CHECK(leaving.front()->untilClosed());
  CHECK(answer.still());
  CHECK(node->serves(neighbours));
  CHECK(node->computed(Operation::kEcdsaVerify) == 2 * kNeighbours);
  CHECK(node->mesh.count(Counter::kTunnelsClosed) == 1);
  CHECK(node->hasAllFibers());
}

TEST_CASE("a handshake that waits leaves at once when its peer has reset it, and others stay") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  const Peers leaving = node->greeted(1, node->ns);
  const Peers neighbours = node->greeted(kNeighbours, node->ns);
  {
    const Held held(node->engine());
    Node::conclude(neighbours);
    Node::conclude(leaving);
    inNextTurn(node->engine(), [&] {
      leaving.front()->vanish();
      while (openTunnels(node->ns) > kNeighbours) {
        std::this_thread::yield();  // its reset is on the way
      }
    });
  }
  const auto refused = node->mesh.event(EventKind::kRefused);
  REQUIRE(refused.has_value());
  CHECK(refused->is(Reason::kTls));
  CHECK(node->serves(neighbours));
  CHECK(node->computed(Operation::kEcdsaVerify) == 2 * kNeighbours);
  CHECK(node->mesh.count(Counter::kTunnelsFailedTls) == 1);
  CHECK(node->hasAllFibers());
}

TEST_CASE("handshakes that wait when a drain's time is over are cut, and computed no more") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  const Peers peers = node->greeted(kAtOnce, node->ns);
  const Unanswered answer{*peers.back()};
  std::promise<size_t> drained;
  {
    const Held held(node->engine());
    Node::conclude(peers);
    // In the next turn the worker listens no more, in the one after it the time is over.
    node->engine().drain(0, [&](size_t cut) { drained.set_value(cut); });
  }
  CHECK(drained.get_future().get() == kAtOnce);
  for (const auto& peer : peers) {
    CHECK(peer->untilClosed());
  }
  CHECK(answer.still());
  const auto refused = node->mesh.event(EventKind::kRefused);
  REQUIRE(refused.has_value());
  CHECK(refused->is(Reason::kDrained));
  CHECK(node->computed(Operation::kEcdsaVerify) == 0);
  CHECK(node->mesh.count(Counter::kTunnelsClosed) == kAtOnce);
}

TEST_CASE("an engine may end with handshakes that wait") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  const Peers peers = node->greeted(kAtOnce, node->ns);
  const Unanswered answer{*peers.back()};
  const auto counters = node->engine().counters();
  std::promise<void> inTurn;
  bool isOrdered = false;
  {
    const Held held(node->engine());
    Node::conclude(peers);
    inNextTurn(node->engine(), [&] {
      inTurn.set_value();
      isOrdered = untilPosted();
    });
  }
  inTurn.get_future().wait();
  node->mesh.engine.reset();  // its order finds the worker in that turn, and is done in the next
  CHECK(isOrdered);
  for (const auto& peer : peers) {
    CHECK(peer->untilClosed());
  }
  CHECK(answer.still());
  CHECK(counters->sum(Counter::kTunnelsClosed) == kAtOnce);
}

TEST_CASE("with one fiber, one of the handshakes that come at once waits, and all succeed") {
  Settings settings = waitingSettings();
  settings.limits.handshakeFibers = 1;
  const auto node = Node::make(settings);
  if (!node) {
    return;
  }
  const Peers peers = node->greeted(kAtOnce, node->ns);
  CHECK(node->totals().inlined.get() == 0);  // they came one by one
  {
    const Held held(node->engine());
    Node::conclude(peers);
  }
  CHECK(node->serves(peers));
  CHECK(node->totals().inlined.get() == kAtOnce - 1);
  CHECK(node->computed(Operation::kEcdsaVerify) == 2);
}

TEST_CASE("connections that are new do not keep the data of one that is up waiting") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns, settingsOf(1));
  mesh.start();
  App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId id = 0;
  REQUIRE(peer.ask(app.authority(), &id) == 200);
  std::vector<Line> strangers;
  for (size_t i = 0; i < 48; i++) {
    strangers.push_back(dial(*ns, "127.0.0.1", kTunnelPort));
  }
  REQUIRE(mesh.reaches(Counter::kTunnelsAccepted, 49));
  // Their events come first, and there are more than three turns take; each ends a tunnel.
  std::promise<uint64_t> refused;
  {
    const Held held(*mesh.engine);
    for (const Line& stranger : strangers) {
      CHECK(::send(stranger.fd.get(), "hello", 5, MSG_NOSIGNAL) == 5);
    }
    CHECK(peer.send(id, pattern(5)));
    inTurn(
        *mesh.engine, [&] { return mesh.count(Counter::kBytesToApps) == 5; },
        [&] { refused.set_value(mesh.count(Counter::kTunnelsFailedTls)); });
  }
  // The data is the 49th event, and so of the fourth turn.
  CHECK(refused.get_future().get() <= 16);
  CHECK(mesh.reaches(Counter::kTunnelsFailedTls, 48));
}
