// SPDX-License-Identifier: Apache-2.0
// Two engines, as two processes would have them: one takes the pod's listeners over from the other.
// Needs root. base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/one_destination.h"
#include "proxy/one_pod.h"

#include <doctest/doctest.h>
// clang-format on

#include <fcntl.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

using namespace weft::test;
using weft::Code;
using weft::Counter;
using weft::Status;
using weft::UniqueFd;
using weft::http::StreamId;
using weft::proxy::Engine;
using weft::proxy::Listeners;
using weft::proxy::Settings;

namespace {

Settings successorSettings() {
  Settings settings = settingsOf(2);
  settings.takesOver = true;
  return settings;
}

Listeners listenersOf(Mesh& mesh) {
  std::promise<Listeners> got;
  mesh.engine->listeners("cart", [&](Listeners all) { got.set_value(std::move(all)); });
  return got.get_future().get();
}

Status addWith(Mesh& mesh, Listeners inherited) {
  auto shared = std::make_shared<Listeners>(std::move(inherited));
  return Mesh::waitFor([&, shared](Engine::Done done) {
    mesh.engine->addPod({"cart", kCartUid, kCart}, mesh.ns.fd(), std::move(done),
                        std::move(*shared));
  });
}

/// `next` knows what `mesh` knows, but has no pod.
void teach(Mesh& next) {
  next.apply(DeltaWriter().add(workload("cart", "127.0.0.1")).policiesReceived());
  next.engine->setIdentity(next.identity(kCart));
}

/// Captures as netfilter does, and counts how often the engine says that it lives.
class Heart final : public weft::io::Captures {
 public:
  explicit Heart(std::atomic<int>& beats) : beats_(beats) {}
  std::shared_ptr<weft::io::Capture> of(int netns) override { return netfilter_.of(netns); }
  void beat() override { beats_.fetch_add(1); }

 private:
  std::atomic<int>& beats_;
  weft::io::NetfilterCaptures netfilter_;
};

/// Waits until there are so many; false when they do not come.
bool beats(const std::atomic<int>& heart, int n) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(kWaitSeconds);
  while (heart.load() < n && std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
  return heart.load() >= n;
}

/// Holds a worker at the first connection that it takes.
struct Hold {
  std::promise<void> held;
  std::promise<void> goOn;
  std::atomic<bool> isOver = false;
};

class HeldDestination final : public weft::io::Captures {
 public:
  HeldDestination(const weft::Endpoint& to, Hold& hold) : one_(to), hold_(hold) {}
  std::shared_ptr<weft::io::Capture> of(int netns) override {
    return std::make_shared<Row>(one_.of(netns), hold_);
  }

 private:
  class Row final : public weft::io::Capture {
   public:
    Row(std::shared_ptr<weft::io::Capture> one, Hold& hold) : one_(std::move(one)), hold_(hold) {}
    Status serve(int, uint16_t) override { return {}; }
    std::optional<weft::io::Origin> outboundDst(int fd, const weft::Endpoint& peer) override {
      if (!hold_.isOver.exchange(true)) {
        hold_.held.set_value();
        hold_.goOn.get_future().wait();
      }
      return one_->outboundDst(fd, peer);
    }
    std::optional<weft::Endpoint> inboundDst(int fd) override { return one_->inboundDst(fd); }
    uint32_t returnMark() const override { return 0; }

   private:
    const std::shared_ptr<weft::io::Capture> one_;
    Hold& hold_;
  };

  OneDestination one_;
  Hold& hold_;
};

size_t drain(Mesh& mesh, uint64_t deadlineMs) {
  std::promise<size_t> drained;
  mesh.engine->drain(deadlineMs, [&](size_t cut) { drained.set_value(cut); });
  return drained.get_future().get();
}

}  // namespace

TEST_CASE("a successor serves the listeners it was given once it takes over") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh before(*ns);
  before.start();
  const App app(*ns);
  Mesh next(*ns, successorSettings());
  teach(next);
  CHECK(next.addPod("cart").code() == Code::kConflict);  // the ports are the other's
  Listeners given = listenersOf(before);
  CHECK(given.size() == 3);
  REQUIRE(addWith(next, std::move(given)).ok());

  HbonePeer old = before.peer();
  StreamId id = 0;
  REQUIRE(old.ask(app.authority(), &id) == 200);
  const Line line = app.accept();
  CHECK(next.count(Counter::kInboundAccepted) == 0);

  // One that came when the one had stopped and the other had not begun yet is not lost.
  std::promise<size_t> drained;
  auto over = drained.get_future();
  before.engine->drain(kWaitSeconds * 1000, [&](size_t cut) { drained.set_value(cut); });
  CHECK(old.until([&] { return old.goaway(); }));
  REQUIRE(before.removePod("none").ok());  // both workers have heard of it
  const Line waiting = dial(*ns, "127.0.0.1", 15008);
  REQUIRE(waiting.fd);
  CHECK(next.count(Counter::kInboundAccepted) == 0);
  next.engine->takeOver();
  CHECK(next.reaches(Counter::kInboundAccepted, 1));

  HbonePeer fresh(*ns, next.identity(kWeb), kCart);
  CHECK(fresh.ask(app.authority()) == 200);
  CHECK(old.send(id, bytesOf("the rest")));
  old.end(id);
  CHECK(line.read(100) == bytesOf("the rest"));
  line.end();
  CHECK(old.untilOver(id));
  CHECK(over.get() == 0);
}

TEST_CASE("the pods that come after a take-over are served at once") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh before(*ns);
  before.start();
  const App app(*ns);
  Mesh next(*ns, successorSettings());
  teach(next);
  next.engine->takeOver();
  REQUIRE(addWith(next, listenersOf(before)).ok());
  CHECK(drain(before, 0) == 0);
  HbonePeer fresh(*ns, next.identity(kWeb), kCart);
  CHECK(fresh.ask(app.authority()) == 200);
}

TEST_CASE("only the one that has the node says that it lives") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  std::atomic<int> old = 0;
  std::atomic<int> young = 0;
  std::promise<size_t> drained;
  Mesh before(*ns, settingsOf(1), std::make_unique<Heart>(old));
  before.start();
  const App app(*ns);
  Settings settings = successorSettings();
  settings.workers = 1;
  Mesh next(*ns, settings, std::make_unique<Heart>(young));
  teach(next);
  REQUIRE(addWith(next, listenersOf(before)).ok());
  CHECK(beats(old, old + 2));
  CHECK(young == 0);  // it waited for two of the other's

  // One that drains, with something to carry.
  HbonePeer peer = before.peer();
  CHECK(peer.ask(app.authority()) == 200);
  const Line line = app.accept();
  next.engine->takeOver();
  before.engine->drain(kWaitSeconds * 1000, [&](size_t cut) { drained.set_value(cut); });
  CHECK(peer.until([&] { return peer.goaway(); }));
  const int last = old;
  CHECK(beats(young, 2));
  CHECK(old == last);
  line.end();
}

TEST_CASE("a successor that ends leaves its predecessor as it was") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh before(*ns);
  before.start();
  const App app(*ns);
  {
    Mesh next(*ns, successorSettings());
    teach(next);
    REQUIRE(addWith(next, listenersOf(before)).ok());
  }
  HbonePeer peer = before.peer();
  CHECK(peer.ask(app.authority()) == 200);
}

TEST_CASE("what is no listener of the pod is not taken") {
  auto ns = newNamespace();
  auto other = newNamespace();
  if (!ns || !other) {
    return;
  }
  Mesh mesh(*ns, successorSettings());
  teach(mesh);
  Listeners given;
  SUBCASE("another port's") {
    Mesh before(*ns);
    before.start();
    given = listenersOf(before);
    std::swap(given.at(15001), given.at(15008));
  }
  SUBCASE("another pod's") {
    Mesh before(*other);
    before.start();
    given = listenersOf(before);
  }
  SUBCASE("one that does not listen") {
    given.emplace(15001, ns->socket());
  }
  SUBCASE("no socket") {
    given.emplace(15001, UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
  }
  CHECK(addWith(mesh, std::move(given)).code() == Code::kInvalid);
  CHECK(mesh.addPod("cart").ok());
}

TEST_CASE("what one worker accepted for another when a drain begins is carried to its end") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  ns->addOutside();
  const App app(*ns, NetworkNamespace::kOutside);
  std::promise<size_t> drained;
  Hold hold;
  Mesh mesh(*ns, settingsOf(2),
            std::make_unique<HeldDestination>(
                weft::Endpoint{*weft::Ip::parse(NetworkNamespace::kOutside), app.port()}, hold));
  mesh.start();
  // The listening worker takes the first itself, and hands the second to the other one, behind
  // that.
  const Line first = dial(*ns, "127.0.0.1", 15001);
  hold.held.get_future().wait();
  const Line second = dial(*ns, "127.0.0.1", 15001);
  mesh.engine->drain(kWaitSeconds * 1000, [&](size_t cut) { drained.set_value(cut); });
  hold.goOn.set_value();
  const Line firstEnd = app.accept();
  const Line secondEnd = app.accept();
  CHECK(second.send(bytesOf("late")));
  CHECK(secondEnd.read(4) == bytesOf("late"));
  for (const Line* line : {&first, &second, &firstEnd, &secondEnd}) {
    line->end();
  }
  CHECK(drained.get_future().get() == 0);
  CHECK(mesh.count(Counter::kOutboundAccepted) == 2);
}

TEST_CASE("a pod that is not known, or drains, has no listeners") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  CHECK(listenersOf(mesh).empty());
  mesh.start();
  CHECK(drain(mesh, 0) == 0);
  CHECK(listenersOf(mesh).empty());
}
