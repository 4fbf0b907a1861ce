// SPDX-License-Identifier: Apache-2.0
// What one pod or peer may take, each at its edge, while another pod is served as before. Needs
// root.
// clang-format off
#include "proxy/one_pod.h"

#include <doctest/doctest.h>
// clang-format on

using namespace weft::test;
using weft::Counter;
using weft::http::StreamId;

namespace {

/// Two pods that the same workers serve: `first` comes to a limit, and `second` must not notice.
struct TwoPods {
  NetworkNamespace firstNs;
  NetworkNamespace secondNs;
  Mesh mesh;
  App app;

  TwoPods(NetworkNamespace first, NetworkNamespace second, Settings settings)
      : firstNs(std::move(first)),
        secondNs(std::move(second)),
        mesh(firstNs, std::move(settings)),
        app(firstNs) {
    mesh.start();
    need(Mesh::waitFor([&](Engine::Done done) {
           mesh.engine->addPod({"second", kCartUid, kCart}, secondNs.fd(), std::move(done));
         }).ok());
  }

  /// True when a whole new connection to the second pod works.
  bool secondServes() {
    const App other(secondNs);
    HbonePeer peer(secondNs, mesh.identity(kWeb), kCart);
    return peer.ask(other.authority()) == 200;
  }
  std::optional<Event> refusal() { return mesh.event(EventKind::kRefused); }
};

std::unique_ptr<TwoPods> twoPods(const std::function<void(weft::proxy::Limits&)>& set,
                                 size_t workers = 1) {
  auto first = newNamespace();
  auto second = newNamespace();
  if (!first || !second) {
    return nullptr;
  }
  Settings settings = settingsOf(workers);
  set(settings.limits);
  return std::make_unique<TwoPods>(std::move(*first), std::move(*second), settings);
}

}  // namespace

TEST_CASE("a pod has as many connections as its limit says, and the next is refused") {
  auto pods = twoPods([](auto& limits) { limits.connectionsPerPod = 6; });
  if (!pods) {
    return;
  }
  HbonePeer peer = pods->mesh.peer();
  StreamId id = 0;
  CHECK(peer.ask(pods->app.authority()) == 200);
  CHECK(peer.ask(pods->app.authority(), &id) == 200);
  const weft::test::Line one = dial(pods->firstNs, "127.0.0.1", 15008);
  const weft::test::Line two = dial(pods->firstNs, "127.0.0.1", 15008);
  HbonePeer last = pods->mesh.peer();
  CHECK(last.ready());
  CHECK(pods->mesh.count(Counter::kLimitReached) == 0);
  CHECK(last.ask(pods->app.authority()) == 503);
  auto refused = pods->refusal();
  REQUIRE(refused.has_value());
  CHECK(refused->is(Reason::kLimit));
  CHECK_FALSE(pods->mesh.peer().ready());
  CHECK(pods->mesh.count(Counter::kLimitReached) == 2);
  CHECK(pods->secondServes());

  const weft::test::Line first = pods->app.accept();
  weft::test::Line second = pods->app.accept();
  second.reset();
  CHECK(peer.untilOver(id));
  CHECK(last.ask(pods->app.authority()) == 200);  // what ended makes room
}

TEST_CASE("peers at one address have half of a pod's connections") {
  auto pods = twoPods([](auto& limits) { limits.connectionsPerPod = 6; });
  if (!pods) {
    return;
  }
  HbonePeer peer = pods->mesh.peer();
  for (size_t i = 0; i < 3; i++) {
    CHECK(peer.ask(pods->app.authority()) == 200);
  }
  CHECK(pods->mesh.count(Counter::kLimitReached) == 0);
  CHECK(peer.ask(pods->app.authority()) == 503);
  CHECK(pods->mesh.count(Counter::kLimitReached) == 1);
  CHECK(pods->secondServes());
}

TEST_CASE("one address may have so many unfinished handshakes, and the pod so many in all") {
  SUBCASE("of one address") {
    auto pods = twoPods([](auto& limits) { limits.handshakesPerSource = 2; });
    if (!pods) {
      return;
    }
    const weft::test::Line one = dial(pods->firstNs, "127.0.0.1", 15008);
    const weft::test::Line two = dial(pods->firstNs, "127.0.0.1", 15008);
    const weft::test::Line three = dial(pods->firstNs, "127.0.0.1", 15008);
    CHECK(three.atEnd());
    const auto refused = pods->refusal();
    REQUIRE(refused.has_value());
    CHECK(refused->is(Reason::kLimit));
    CHECK(refused->detail == "the source has too many unfinished handshakes");
    CHECK(pods->secondServes());
  }
  SUBCASE("of the pod") {
    auto pods = twoPods([](auto& limits) { limits.handshakesPerPod = 2; });
    if (!pods) {
      return;
    }
    weft::test::Line one = dial(pods->firstNs, "127.0.0.1", 15008);
    const weft::test::Line two = dial(pods->firstNs, "127.0.0.1", 15008);
    CHECK_FALSE(pods->mesh.peer().ready());
    const auto refused = pods->refusal();
    REQUIRE(refused.has_value());
    CHECK(refused->detail == "the pod has too many unfinished handshakes");
    CHECK(pods->secondServes());
    one.reset();
    REQUIRE(pods->refusal().has_value());  // the proxy has seen its end
    CHECK(pods->mesh.peer().ready());
  }
}

TEST_CASE("a refused handshake counts as unfinished until its connection is closed") {
  std::unique_ptr<TwoPods> pods;
  const char* reached = nullptr;
  SUBCASE("of one address") {
    pods = twoPods([](auto& limits) { limits.handshakesPerSource = 2; }, 2);
    reached = "the source has too many unfinished handshakes";
  }
  SUBCASE("of the pod") {
    pods = twoPods([](auto& limits) { limits.handshakesPerPod = 2; });
    reached = "the pod has too many unfinished handshakes";
  }
  if (!pods) {
    return;
  }
  std::vector<weft::test::Line> open;
  size_t alerts = 0;
  while (alerts == open.size() && alerts < 20) {
    open.push_back(dial(pods->firstNs, "127.0.0.1", 15008));
    open.back().send(bytesOf("no record of TLS at all"));
    alerts += open.back().read(1) == Bytes{0x15} ? 1 : 0;
  }
  CHECK(alerts >= 2);
  CHECK(alerts < 20);
  CHECK(pods->mesh.event([&](const Event& e) { return e.detail == reached; }).has_value());
  CHECK(pods->secondServes());
  open.clear();
  bool comesIn = false;
  for (int i = 0; i < 1000 && !comesIn; i++) {
    comesIn = pods->mesh.peer().ready();
  }
  CHECK(comesIn);
}

TEST_CASE("a handshake that is done counts no more as unfinished") {
  auto pods = twoPods([](auto& limits) { limits.handshakesPerSource = 1; });
  if (!pods) {
    return;
  }
  HbonePeer one = pods->mesh.peer();
  CHECK(one.ask(pods->app.authority()) == 200);
  HbonePeer two = pods->mesh.peer();
  CHECK(two.ask(pods->app.authority()) == 200);
}

TEST_CASE("one address may have so many tunnels") {
  auto pods = twoPods([](auto& limits) { limits.tunnelsPerSource = 2; });
  if (!pods) {
    return;
  }
  HbonePeer one = pods->mesh.peer();
  CHECK(one.ask(pods->app.authority()) == 200);
  {
    HbonePeer two = pods->mesh.peer();
    CHECK(two.ask(pods->app.authority()) == 200);
    CHECK_FALSE(pods->mesh.peer().ready());
    const auto refused = pods->refusal();
    REQUIRE(refused.has_value());
    CHECK(refused->detail == "the source has too many tunnels");
    CHECK(pods->secondServes());
    two.vanish();
  }
  REQUIRE(pods->mesh.event(EventKind::kClosed).has_value());
  CHECK(pods->mesh.peer().ready());
  CHECK(one.ask(pods->app.authority()) == 200);
}

TEST_CASE("one address has its handshakes and tunnels in all workers together") {
  constexpr size_t kWorkers = 3;
  SUBCASE("handshakes") {
    auto pods = twoPods([](auto& limits) { limits.handshakesPerSource = kWorkers; }, kWorkers);
    if (!pods) {
      return;
    }
    std::vector<weft::test::Line> lines;
    for (size_t i = 0; i < kWorkers; i++) {
      lines.push_back(dial(pods->firstNs, "127.0.0.1", 15008));
    }
    CHECK(pods->mesh.reaches(Counter::kTunnelsAccepted, kWorkers));
    CHECK(dial(pods->firstNs, "127.0.0.1", 15008).atEnd());
    const auto refused = pods->refusal();
    REQUIRE(refused.has_value());
    CHECK(refused->detail == "the source has too many unfinished handshakes");
    CHECK(pods->secondServes());
    lines.pop_back();
    REQUIRE(pods->refusal().has_value());  // the proxy has seen its end
    CHECK(pods->mesh.peer().ready());
  }
  SUBCASE("tunnels") {
    auto pods = twoPods([](auto& limits) { limits.tunnelsPerSource = kWorkers; }, kWorkers);
    if (!pods) {
      return;
    }
    std::vector<std::unique_ptr<HbonePeer>> peers;
    for (size_t i = 0; i < kWorkers; i++) {
      peers.push_back(std::make_unique<HbonePeer>(pods->firstNs, pods->mesh.identity(kWeb), kCart));
      CHECK(peers.back()->ready());
    }
    CHECK_FALSE(pods->mesh.peer().ready());
    const auto refused = pods->refusal();
    REQUIRE(refused.has_value());
    CHECK(refused->detail == "the source has too many tunnels");
    CHECK(pods->secondServes());
  }
}

TEST_CASE("one address has half of a pod's connections and bytes in all workers together") {
  constexpr size_t kWorkers = 3;
  constexpr uint32_t kWindow = 64 << 10;
  std::unique_ptr<TwoPods> pods;
  int refusal = 0;
  SUBCASE("connections") {
    pods = twoPods([](auto& limits) { limits.connectionsPerPod = 4 * kWorkers; }, kWorkers);
    refusal = 503;
  }
  SUBCASE("bytes") {
    pods = twoPods([](auto& limits) { limits.bytesPerPod = 4 * kWorkers * kWindow; }, kWorkers);
  }
  if (!pods) {
    return;
  }
  pods->firstNs.addOutside();
  const App outside(pods->firstNs, NetworkNamespace::kOutside);
  std::vector<std::unique_ptr<HbonePeer>> peers;
  StreamId id = 0;
  for (size_t i = 0; i < kWorkers; i++) {
    peers.push_back(std::make_unique<HbonePeer>(pods->firstNs, pods->mesh.identity(kWeb), kCart));
    CHECK(peers.back()->ask(pods->app.authority()) == 200);
    CHECK(peers.back()->ask(pods->app.authority(), &id) == 200);
  }
  for (auto& peer : peers) {
    CHECK(peer->ask(pods->app.authority()) == refusal);
  }
  HbonePeer other(pods->firstNs, pods->mesh.identity(kWeb), kCart, NetworkNamespace::kOutside);
  CHECK(other.ask(NetworkNamespace::kOutside + (":" + std::to_string(outside.port()))) == 200);
  CHECK(pods->secondServes());
  peers.back()->reset(id, weft::http::H2Error::kCancel);
  CHECK(peers.back()->ask(pods->app.authority()) == 200);  // what ended makes room
}

TEST_CASE(
    "so many accepted streams may a peer reset within a second, and one more ends its tunnel") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  settings.h2.resetsPerTickMax = 5;
  Mesh mesh(*ns, settings);
  mesh.start();
  const App app(*ns);
  HbonePeer other = mesh.peer();
  StreamId otherId = 0;
  REQUIRE(other.ask(app.authority(), &otherId) == 200);
  const weft::test::Line otherLine = app.accept();
  HbonePeer peer = mesh.peer();
  size_t resets = 0;
  StreamId id = 0;
  while (resets < 200 && peer.ask(app.authority(), &id) == 200) {
    const weft::test::Line line = app.accept();
    peer.reset(id, weft::http::H2Error::kCancel);
    resets++;
    CHECK(line.nextError() == ECONNRESET);
  }
  CHECK(resets > settings.h2.resetsPerTickMax);
  CHECK(resets < 200);
  CHECK(peer.untilClosed());
  CHECK(peer.goaway());
  CHECK(mesh.count(Counter::kTunnelsFailedHttp2) == 1);
  CHECK(other.send(otherId, bytesOf("still here")));
  CHECK(otherLine.read(10) == bytesOf("still here"));
}

TEST_CASE("so many inbound connections wait for a pod's certificate") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  settings.limits.heldPerPod = 1;
  Mesh mesh(*ns, settings);
  mesh.apply(DeltaWriter().add(workload("cart", "127.0.0.1")).policiesReceived());
  REQUIRE(mesh.addPod("cart").ok());
  HbonePeer held = mesh.peer();
  HbonePeer over = mesh.peer();
  CHECK_FALSE(over.ready());
  CHECK(mesh.count(Counter::kLimitReached) == 1);
  mesh.engine->setIdentity(mesh.identity(kCart));
  CHECK(held.ready());
}

TEST_CASE("a peer on the deny list is cut, and comes in no more until it leaves the list") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  HbonePeer other(*ns, mesh.identity(kCart), kCart);
  StreamId id = 0;
  StreamId otherId = 0;
  REQUIRE(peer.ask(app.authority(), &id) == 200);
  const weft::test::Line line = app.accept();
  REQUIRE(other.ask(app.authority(), &otherId) == 200);
  const weft::test::Line otherLine = app.accept();
  mesh.engine->setDenyList({kWeb}, {});
  CHECK(line.nextError() == ECONNRESET);
  CHECK(peer.untilClosed());
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kIdentity));
  HbonePeer denied = mesh.peer();
  denied.untilClosed();
  const auto refused = mesh.event(EventKind::kRefused);
  REQUIRE(refused.has_value());
  CHECK(refused->is(Reason::kIdentity));
  CHECK(other.send(otherId, bytesOf("still here")));
  CHECK(otherLine.read(10) == bytesOf("still here"));
  mesh.engine->setDenyList({}, {});
  CHECK(mesh.peer().ask(app.authority()) == 200);
}
