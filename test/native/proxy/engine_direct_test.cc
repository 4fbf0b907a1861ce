// SPDX-License-Identifier: Apache-2.0
// What an engine does for connections that the kernel captures or carries, with stand-ins for the
// kernel, whose own part is tested live in test/integration/kernel. Needs root.
// clang-format off
#include "proxy/direct_kernel.h"
#include "proxy/one_destination.h"
#include "proxy/one_pod.h"

#include <doctest/doctest.h>
// clang-format on

using namespace weft::test;
using weft::Ip;
using weft::Status;
using weft::io::DirectEvent;
using weft::proxy::Direction;
using weft::proxy::Service;
using State = DirectKernel::State;
using Kind = DirectEvent::Kind;

namespace {

constexpr const char* kWebUid = "Kubernetes//Pod/shop/web";

Settings directSettings() {
  Settings settings = settingsOf(2);
  settings.directPath = true;
  return settings;
}

/// The pods "cart" and "web" of one node, between which connections are direct.
class Node {
 public:
  static std::unique_ptr<Node> make() {
    auto first = newNamespace();
    auto second = newNamespace();
    return first && second ? std::make_unique<Node>(std::move(*first), std::move(*second))
                           : nullptr;
  }
  Node(NetworkNamespace first, NetworkNamespace second)
      : cartNs(std::move(first)),
        webNs(std::move(second)),
        cart(weft::io::netnsCookie(cartNs.fd().get()).value()),
        web(weft::io::netnsCookie(webNs.fd().get()).value()),
        mesh(cartNs, directSettings(), std::make_unique<DirectCaptures>(kernel)) {
    Service store;
    store.key = "shop/store";
    store.addresses = {weft::proxy::vip("10.96.0.1")};
    mesh.apply(DeltaWriter()
                   .add(store)
                   .add(workload("cart", "10.1.1.1"))
                   .add(workload("web", "10.1.1.2"))
                   .policiesReceived());
    mesh.engine->setIdentity(mesh.identity(kCart));
    mesh.engine->setIdentity(mesh.identity(kWeb));
  }

  void addWeb(Engine::Done done) {
    mesh.engine->addPod({"web", kWebUid, kWeb}, webNs.fd(), std::move(done));
  }
  DirectEvent event(Kind kind, bool established) const {
    DirectEvent out;
    out.kind = kind;
    out.flow = {web, cart, {*Ip::parse("10.1.1.2"), 40001}, {*Ip::parse("10.1.1.1"), 80}};
    out.established = established;
    out.bytesSent = 5;
    out.bytesReceived = 7;
    out.durationNs = 3'000'000;
    return out;
  }

  NetworkNamespace cartNs;
  const NetworkNamespace webNs;
  const uint64_t cart;
  const uint64_t web;
  DirectKernel kernel;
  Mesh mesh;
};

/// From which address an application is told to come that is captured on the loopback.
std::string sourceOf(NetworkNamespace& ns, const Workload& cart) {
  ns.addOutside();
  const App app(ns, NetworkNamespace::kOutside);
  const weft::Endpoint to{*Ip::parse(NetworkNamespace::kOutside), app.port()};
  Mesh mesh(ns, settingsOf(1), std::make_unique<OneDestination>(to));
  mesh.apply(DeltaWriter().add(cart).policiesReceived());
  need(mesh.addPod("cart").ok());
  const Line near = dial(ns, "127.0.0.1", 15001);
  const Line far = app.accept();
  const auto opened = mesh.event(EventKind::kOpened);
  need(opened.has_value());
  return opened->source.substr(0, opened->source.rfind(':'));
}

}  // namespace

TEST_CASE("what the kernel tells of a direct connection both pods report") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  CHECK(node->mesh.addPod("cart").ok());
  CHECK(Mesh::waitFor([&](Engine::Done done) { node->addWeb(std::move(done)); }).ok());
  CHECK(node->kernel.until([](const State& now) { return now.tables.size() == 2; }));
  EventKind kind = EventKind::kOpened;
  Reason reason = Reason::kNone;
  DirectEvent told = node->event(Kind::kOpened, true);
  SUBCASE("opened") {}
  SUBCASE("closed") {
    told = node->event(Kind::kClosed, true);
    kind = EventKind::kClosed;
  }
  SUBCASE("never opened") {
    told = node->event(Kind::kClosed, false);
    kind = EventKind::kRefused;
    reason = Reason::kConnect;
  }
  SUBCASE("denied") {
    told = node->event(Kind::kDenied, false);
    kind = EventKind::kRefused;
    reason = Reason::kDenied;
  }
  std::string service;
  SUBCASE("closed, and asked for by a service's address") {
    told = node->event(Kind::kClosed, true);
    kind = EventKind::kClosed;
    told.flow.asked = {*Ip::parse("10.96.0.1"), 80};
    service = "shop/store";
  }
  node->kernel.tell(told);
  for (const auto& [direction, uid] :
       {std::pair{Direction::kOutbound, "web"}, std::pair{Direction::kInbound, "cart"}}) {
    const auto event = node->mesh.event(
        [way = static_cast<int32_t>(direction)](const Event& e) { return e.direction == way; });
    REQUIRE(event.has_value());
    CHECK(event->is(kind));
    CHECK(event->is(reason));
    CHECK(event->podUid == uid);
    CHECK(event->source == "10.1.1.2:40001");
    CHECK(event->destination == "10.1.1.1:80");
    CHECK(event->sourceIdentity == kWeb);
    CHECK(event->destinationIdentity == kCart);
    CHECK(event->sourceWorkload == kWebUid);
    CHECK(event->destinationWorkload == kCartUid);
    // As a tunnel asks the destination's side: for the pod.
    CHECK(event->destinationService == (direction == Direction::kOutbound ? service : ""));
    CHECK_FALSE(event->mutualTls);
    if (kind == EventKind::kClosed) {
      CHECK(event->sent == 5);
      CHECK(event->received == 7);
      CHECK(event->durationUs >= 3'000);
    }
  }
}

TEST_CASE("a pod that is removed while it is added has no direct connections") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  const Status removed = Mesh::waitFor([&](Engine::Done done) {
    node->addWeb([](const Status&) {});
    node->mesh.engine->removePod("web", std::move(done));
  });
  CHECK(removed.ok());
  CHECK(node->mesh.addPod("cart").ok());
  // Alone, it has nobody to be decided for.
  CHECK(node->kernel.until([&](const State& now) { return now.withdrawn.contains(node->cart); }));
  CHECK(node->kernel.settles());
  CHECK_FALSE(node->kernel.now().tables.contains(node->web));
  CHECK(node->kernel.now().published.empty());
}

TEST_CASE("an engine may end while pods are on their way, and one cannot be opened") {
  for (int i = 0; i < 5; i++) {
    const auto node = Node::make();
    if (!node) {
      return;
    }
    const App inTheWay(node->cartNs, "0.0.0.0", 15008);
    node->mesh.engine->addPod({"cart", kCartUid, kCart}, node->cartNs.fd(), [](const Status&) {});
    node->addWeb([](const Status&) {});
    node->mesh.engine.reset();
  }
}

TEST_CASE("an application that is captured on the loopback is told by its pod's address") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Workload cart = workload("cart", "fd00::1");
  SUBCASE("the one of its family") {
    cart.addresses.push_back(*Ip::parse("10.1.1.1"));
    CHECK(sourceOf(*ns, cart) == "10.1.1.1");
  }
  SUBCASE("but by none of another") {
    CHECK(sourceOf(*ns, cart) == "127.0.0.1");
  }
}
