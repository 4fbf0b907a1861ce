// SPDX-License-Identifier: Apache-2.0
// The engine as it runs, with real sockets in throw-away network namespaces. Needs root.
// Long, since its cases share that world.
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/one_pod.h"

#include <doctest/doctest.h>
// clang-format on

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

using namespace weft::test;
using weft::Counter;
using weft::Status;
using weft::http::StreamId;

TEST_CASE("a stream carries more than all windows both ways, and is reported with its bytes") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  std::thread server([&] { echo(app.accept()); });
  HbonePeer peer = mesh.peer();
  StreamId id = 0;
  CHECK(peer.ask(app.authority(), &id) == 200);
  const Bytes sent = pattern(20 << 20);  // the connection's window is 16 MiB
  CHECK(peer.send(id, sent));
  peer.end(id);
  CHECK(peer.untilOver(id));
  CHECK(peer[id].ended);
  CHECK(peer[id].data == sent);
  server.join();

  const auto opened = mesh.event(EventKind::kOpened);
  REQUIRE(opened.has_value());
  CHECK(opened->podUid == "cart");
  CHECK(opened->sourceIdentity == kWeb);
  CHECK(opened->destinationIdentity == kCart);
  CHECK(opened->destinationWorkload == kCartUid);
  CHECK(opened->destination == app.authority());
  CHECK(opened->mutualTls);
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kNone));
  CHECK(closed->sent == sent.size());
  CHECK(closed->received == sent.size());
  CHECK(mesh.count(Counter::kBytesToApps) == sent.size());
  CHECK(mesh.count(Counter::kBytesFromApps) == sent.size());
  CHECK(mesh.count(Counter::kTunnelsAccepted) == 1);
  CHECK(mesh.count(Counter::kStreamsClosed) == 1);
}

TEST_CASE("the answer to a request that came at once leaves with the server's first flight") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  int together = 0;
  for (int i = 0; i < 20; i++) {
    HbonePeer peer = mesh.peer();
    CHECK(peer.ask(app.authority()) == 200);
    // One for TLS, and one for SETTINGS, ticket and answer.
    together += peer.segments() == 2 ? 1 : 0;
  }
  // A kernel in trouble may take its time to connect to an application.
  CHECK(together >= 10);
}

TEST_CASE("what an application says at once leaves with the server's first flight, too") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns, settingsOf(1));
  mesh.start();
  const App app(*ns);
  for (uint64_t i = 0; i < 5; i++) {
    HbonePeer peer = mesh.peer();
    const StreamId id = peer.open(app.authority());  // goes out with the end of the handshake
    // The worker stands still between the turn that saw the application accept and the one that
    // sees what it says.
    std::promise<void> accepted;
    std::promise<void> said;
    inTurn(
        *mesh.engine, [&] { return mesh.count(Counter::kStreamsOpened) > i; },
        [&] {
          accepted.set_value();
          said.get_future().wait();
        });
    CHECK(peer.ready());
    accepted.get_future().wait();
    const Line line = app.accept();
    CHECK(::send(line.fd.get(), "220", 3, MSG_NOSIGNAL) == 3);
    said.set_value();
    CHECK(peer.until([&] { return peer[id].data.size() == 3; }));
    CHECK(peer[id].status == 200);
    CHECK(peer.segments() == 2);
  }
}

TEST_CASE("a request is refused with the status that says why") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  App app(*ns);
  const std::string authority = app.authority();
  int expected = 0;
  Reason reason = Reason::kNone;
  std::string asked = authority;
  SUBCASE("401 when a policy denies") {
    mesh.apply(DeltaWriter().add(policy("none", PolicyAction::kDeny, kWeb)));
    expected = 401;
    reason = Reason::kDenied;
  }
  SUBCASE("401 when no allowing policy takes this client") {
    mesh.apply(DeltaWriter().add(policy("some", PolicyAction::kAllow, kCart)));
    expected = 401;
    reason = Reason::kDenied;
  }
  SUBCASE("400 when the authority is another pod's") {
    asked = "127.0.0.2:" + std::to_string(app.port());
    expected = 400;
    reason = Reason::kBadRequest;
  }
  SUBCASE("400 when the authority is neither an address nor a name") {
    asked = "cart..svc.cluster.local:80";
    expected = 400;
    reason = Reason::kBadRequest;
  }
  SUBCASE("503 when the pod is no endpoint of the service") {
    asked = "cart.shop.svc.cluster.local:80";
    expected = 503;
    reason = Reason::kNoRoute;
  }
  SUBCASE("503 when the port is the proxy's own") {
    asked = "127.0.0.1:15008";
    expected = 503;
    reason = Reason::kNoRoute;
  }
  SUBCASE("503 when nobody listens") {
    app.close();
    expected = 503;
    reason = Reason::kConnect;
  }
  SUBCASE("503 when the tables do not know the pod") {
    mesh.apply(DeltaWriter().removeWorkload(kCartUid));
    expected = 503;
    reason = Reason::kNoRoute;
  }
  HbonePeer peer = mesh.peer();
  StreamId id = 0;
  CHECK(peer.ask(asked, &id) == expected);
  CHECK(peer.untilOver(id));
  const auto refused = mesh.event(EventKind::kRefused);
  REQUIRE(refused.has_value());
  CHECK(refused->is(reason));
  CHECK(refused->sourceIdentity == kWeb);
  CHECK(mesh.count(Counter::kStreamsRefused) == 1);
  CHECK(mesh.count(Counter::kStreamsDenied) == (reason == Reason::kDenied ? 1 : 0));
  CHECK(mesh.count(Counter::kStreamsOpened) == 0);
}

TEST_CASE("before the first policies came every request is refused") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.apply(DeltaWriter().add(workload("cart", "127.0.0.1")));
  mesh.engine->setIdentity(mesh.identity(kCart));
  REQUIRE(mesh.addPod("cart").ok());
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  CHECK(peer.ask(app.authority()) == 401);
  mesh.apply(DeltaWriter().policiesReceived());
  // Tables reach the workers in the order of the calls: the pod's answer is behind them.
  REQUIRE(mesh.removePod("none").ok());
  CHECK(peer.ask(app.authority()) == 200);
}

TEST_CASE("a change of policy cuts the streams it forbids and no others") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer web = mesh.peer();
  HbonePeer cart(*ns, mesh.identity(kCart), kCart);
  StreamId ofWeb = 0;
  StreamId ofCart = 0;
  REQUIRE(web.ask(app.authority(), &ofWeb) == 200);
  const Line lineOfWeb = app.accept();
  REQUIRE(cart.ask(app.authority(), &ofCart) == 200);
  const Line lineOfCart = app.accept();
  mesh.apply(DeltaWriter().add(policy("not-web", PolicyAction::kDeny, kWeb)));
  CHECK(web.untilOver(ofWeb));
  CHECK(web[ofWeb].reset.has_value());
  CHECK(lineOfWeb.nextError() == ECONNRESET);
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kDenied));
  CHECK(closed->policy == "shop/not-web");
  CHECK(cart.send(ofCart, bytesOf("still here")));
  CHECK(lineOfCart.read(10) == bytesOf("still here"));
  CHECK(mesh.count(Counter::kStreamsDenied) == 1);
}

TEST_CASE("what is no TLS gets an alert, is counted, and harms nobody") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  const Line line = dial(*ns, "127.0.0.1", 15008);
  REQUIRE(line.send(Bytes(64, 0xff)));
  const Bytes alert = line.read(7);
  REQUIRE(alert.size() == 7);
  CHECK(alert[0] == 21);  // an alert record, RFC 8446 section 5.1
  CHECK(alert[5] == 2);   // fatal
  const auto refused = mesh.event(EventKind::kRefused);
  REQUIRE(refused.has_value());
  CHECK(refused->is(Reason::kTls));
  CHECK(mesh.count(Counter::kTunnelsFailedTls) == 1);
  HbonePeer peer = mesh.peer();
  CHECK(peer.ask(app.authority()) == 200);
}

TEST_CASE("a client of another authority is refused by its certificate") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  NetworkNamespace& same = *ns;
  Mesh other(same);
  auto foreign = other.ca.material(kWeb, {.names = "",
                                          .notBefore = weft::unixSeconds() - kHour,
                                          .notAfter = weft::unixSeconds() + kHour});
  foreign.roots = {mesh.ca.der()};  // it would trust us
  auto identity = weft::tls::Identity::create(std::move(foreign));
  REQUIRE(identity.ok());
  HbonePeer peer(*ns, identity.value(), kCart);
  CHECK(peer.untilClosed() == false);  // an alert, not a clean end
  CHECK_FALSE(peer.failure().ok());
  const auto refused = mesh.event(EventKind::kRefused);
  REQUIRE(refused.has_value());
  CHECK(refused->is(Reason::kIdentity));
  CHECK(mesh.count(Counter::kTunnelsFailedIdentity) == 1);
}

TEST_CASE("a connection waits for the pod's certificate") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(2);
  SUBCASE("and is served once it came") {
    Mesh mesh(*ns, settings);
    mesh.apply(DeltaWriter().add(workload("cart", "127.0.0.1")).policiesReceived());
    REQUIRE(mesh.addPod("cart").ok());
    const App app(*ns);
    HbonePeer peer = mesh.peer();
    mesh.engine->setIdentity(mesh.identity(kCart));
    CHECK(peer.ask(app.authority()) == 200);
  }
  SUBCASE("and is refused when that takes too long") {
    settings.identityTimeoutMs = 20;
    Mesh mesh(*ns, settings);
    mesh.apply(DeltaWriter().add(workload("cart", "127.0.0.1")).policiesReceived());
    REQUIRE(mesh.addPod("cart").ok());
    HbonePeer peer = mesh.peer();
    CHECK(peer.untilClosed());
    CHECK_FALSE(peer.ready());
    CHECK(mesh.count(Counter::kTunnelsFailedIdentity) == 1);
  }
}

TEST_CASE("a client that does not finish its handshake is cut") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  settings.handshakeTimeoutMs = 20;
  Mesh mesh(*ns, settings);
  mesh.start();
  const Line line = dial(*ns, "127.0.0.1", 15008);
  CHECK(line.atEnd());
  CHECK(mesh.event(EventKind::kRefused).has_value());
  CHECK(mesh.count(Counter::kTunnelsTimedOut) == 1);
}

TEST_CASE("a client that finishes TLS and then says nothing in HTTP/2 is cut") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  settings.handshakeTimeoutMs = 2000;
  Mesh mesh(*ns, settings);
  mesh.start();
  HbonePeer peer = mesh.peer();
  peer.beMute();
  CHECK(peer.ready());
  CHECK(peer.untilClosed());
  CHECK(mesh.count(Counter::kTunnelsTimedOut) == 1);
  CHECK(mesh.count(Counter::kTunnelsFailedHttp2) == 1);
}

TEST_CASE("a drain tells peers, lets streams end, and cuts the rest at its deadline") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId id = 0;
  REQUIRE(peer.ask(app.authority(), &id) == 200);
  const Line line = app.accept();
  std::promise<void> drained;
  auto over = drained.get_future();
  SUBCASE("a stream that ends") {
    mesh.engine->drain(kWaitSeconds * 1000, [&](size_t) { drained.set_value(); });
    CHECK(peer.until([&] { return peer.goaway(); }));
    REQUIRE(mesh.removePod("none").ok());  // the other worker has heard of the drain too
    CHECK_FALSE(dial(*ns, "127.0.0.1", 15008).fd);
    CHECK(peer.send(id, bytesOf("the rest")));
    peer.end(id);
    CHECK(line.read(100) == bytesOf("the rest"));
    CHECK(over.wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
    line.end();
    CHECK(peer.untilOver(id));
    CHECK(peer[id].ended);
    CHECK(peer.untilClosed());
  }
  SUBCASE("a stream that does not") {
    size_t cut = 0;
    mesh.engine->drain(30, [&](size_t count) {
      cut = count;
      drained.set_value();
    });
    CHECK(line.nextError() == ECONNRESET);
    const auto closed = mesh.event(EventKind::kClosed);
    REQUIRE(closed.has_value());
    CHECK(closed->is(Reason::kDrained));
    over.wait();
    CHECK(cut == 2);  // the connection and its tunnel
  }
  CHECK(over.wait_for(std::chrono::seconds(kWaitSeconds)) == std::future_status::ready);
}

TEST_CASE("a drain lets who has begun its handshake ask, and tells it then") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns, settingsOf(1));
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();          // which says nothing until it asks
  REQUIRE(mesh.removePod("none").ok());  // the worker has taken it by now
  std::promise<void> drained;
  auto over = drained.get_future();
  mesh.engine->drain(kWaitSeconds * 1000, [&](size_t) { drained.set_value(); });
  StreamId id = 0;
  CHECK(peer.ask(app.authority(), &id) == 200);
  CHECK(peer.until([&] { return peer.goaway(); }));
  const Line line = app.accept();
  peer.end(id);
  CHECK(line.atEnd());
  line.end();
  CHECK(peer.untilOver(id));
  CHECK(peer.untilClosed());
  CHECK(over.wait_for(std::chrono::seconds(kWaitSeconds)) == std::future_status::ready);
}

TEST_CASE("an engine that drains takes no further pod") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  std::promise<size_t> drained;
  mesh.engine->drain(kWaitSeconds * 1000, [&](size_t cut) { drained.set_value(cut); });
  CHECK(drained.get_future().get() == 0);
  CHECK(mesh.addPod("late").code() == weft::Code::kUnavailable);
  CHECK_FALSE(dial(*ns, "127.0.0.1", 15008).fd);
}

TEST_CASE("a renewed certificate ends the old tunnels once their streams have ended") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer before = mesh.peer();
  StreamId id = 0;
  REQUIRE(before.ask(app.authority(), &id) == 200);
  const Line line = app.accept();
  mesh.engine->setIdentity(mesh.identity(kCart));
  CHECK(before.until([&] { return before.goaway(); }));
  HbonePeer after = mesh.peer();
  CHECK(after.ask(app.authority()) == 200);
  CHECK(app.accept().fd);
  CHECK(before.send(id, bytesOf("the rest")));
  before.end(id);
  CHECK(line.read(100) == bytesOf("the rest"));
  line.end();
  CHECK(before.untilOver(id));
  CHECK(before[id].ended);
  CHECK(before.untilClosed());
  CHECK_FALSE(after.goaway());
}

TEST_CASE("a pod that is removed takes its connections and listeners along") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId id = 0;
  REQUIRE(peer.ask(app.authority(), &id) == 200);
  const Line line = app.accept();
  CHECK(mesh.removePod("cart").ok());
  CHECK(line.nextError() == ECONNRESET);
  CHECK(peer.untilClosed());
  for (const uint16_t port : {15001, 15006, 15008}) {
    CHECK_FALSE(dial(*ns, "127.0.0.1", port).fd);
  }
  CHECK(mesh.removePod("cart").ok());
  CHECK(mesh.removePod("never").ok());
}

TEST_CASE("a pod is added whole or not at all") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  SUBCASE("a descriptor that is no namespace is refused") {
    const weft::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const Status status = Mesh::waitFor([&](Engine::Done done) {
      mesh.engine->addPod({"cart", kCartUid, kCart}, null, std::move(done));
    });
    CHECK(status.code() == weft::Code::kInvalid);
  }
  SUBCASE("a port that is taken closes those before it") {
    const App taken(*ns, "0.0.0.0", 15008);
    CHECK(mesh.addPod("cart").code() == weft::Code::kConflict);
    CHECK_FALSE(dial(*ns, "127.0.0.1", 15001).fd);
    CHECK_FALSE(dial(*ns, "127.0.0.1", 15006).fd);
  }
  SUBCASE("the same uid again replaces the first") {
    mesh.start();
    const App app(*ns);
    HbonePeer before = mesh.peer();
    CHECK(before.ready());
    CHECK(mesh.addPod("cart").ok());
    CHECK(before.untilClosed());
    HbonePeer after = mesh.peer();
    CHECK(after.ask(app.authority()) == 200);
  }
}

TEST_CASE("an application that does not read stops its stream, and the others run on") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId stalled = 0;
  StreamId busy = 0;
  REQUIRE(peer.ask(app.authority(), &stalled) == 200);
  const Line idle = app.accept();
  REQUIRE(peer.ask(app.authority(), &busy) == 200);
  std::thread server([&] { echo(app.accept()); });

  // Until the window stays shut over a round trip: it and the sockets' buffers are full.
  const Bytes flood = pattern(16 << 10);
  const Bytes ping = bytesOf("ping");
  size_t taken = 0;
  size_t pings = 0;
  bool shut = false;
  while (!shut && taken < (64 << 20)) {
    shut = true;
    for (size_t n = 0; (n = peer.queue(stalled, flood)) > 0; shut = false) {
      taken += n;
      REQUIRE(peer.flush());
    }
    REQUIRE(peer.send(busy, ping));
    pings++;
    CHECK(peer.until([&] { return peer[busy].data.size() == pings * ping.size(); }));
  }
  CHECK(shut);
  peer.end(busy);
  CHECK(peer.untilOver(busy));
  server.join();
  // Everything that was taken arrives once the application reads.
  size_t arrived = 0;
  std::thread reader([&] {
    arrived = idle.read(taken + 1).size();
    idle.end();
  });
  peer.end(stalled);
  CHECK(peer.untilOver(stalled));
  reader.join();
  CHECK(arrived == taken);
}

TEST_CASE("pods come and go and tables change while clients run") {
  auto ns = newNamespace();
  auto other = newNamespace();
  if (!ns || !other) {
    return;
  }
  const size_t before = openDescriptors();
  {
    Mesh mesh(*ns);
    mesh.start();
    const App app(*ns);
    std::atomic<bool> stop = false;
    std::atomic<bool> stopServer = false;
    std::thread server([&] {
      while (!stopServer) {
        const Line line = app.accept();
        if (line.fd) {
          const Bytes some = line.read(1000);
          line.send(some);
        }
      }
    });
    std::atomic<size_t> served = 0;
    std::vector<std::thread> clients;
    const auto web = mesh.identity(kWeb);
    for (size_t i = 0; i < 2; i++) {
      clients.emplace_back([&] {
        while (!stop) {
          HbonePeer peer(*ns, web, kCart);
          for (size_t n = 0; n < 4 && peer.ready(); n++) {
            StreamId id = 0;
            if (peer.ask(app.authority(), &id) == 200 && peer.send(id, pattern(1000)) &&
                peer.untilOver(id) && peer[id].ended) {
              served++;
            }
          }
          // Where pods come and go it may find a listener, a worker's part, or neither any more.
          dial(*other, "127.0.0.1", 15008).send(bytesOf("no TLS"));
        }
      });
    }
    auto turns = [&] {
      for (size_t i = 0; i < 40 || (served < 50 && i < 4000); i++) {
        const std::string name = "pod-" + std::to_string(i % 7);
        DeltaWriter delta;
        delta.add(workload(name, "10.0.0.9"));
        if (i % 2 == 0) {
          delta.add(policy("changing", PolicyAction::kDeny, kCart));
        } else {
          delta.removePolicy("shop/changing");
        }
        if (!mesh.engine->apply(delta.bytes()).ok() || !mesh.addPod(name, *other).ok() ||
            !mesh.removePod(name).ok()) {
          return false;
        }
        if (i % 5 == 0) {
          mesh.engine->setIdentity(mesh.identity(kCart));
        }
        mesh.engine->takeEvents();
      }
      return true;
    };
    CHECK(turns());
    stop = true;
    for (std::thread& client : clients) {
      client.join();
    }
    stopServer = true;
    dial(*ns, "127.0.0.1", app.port());  // wakes it
    server.join();
    CHECK(served >= 50);
  }
  CHECK(openDescriptors() == before);
}

TEST_CASE("an engine may end with everything open") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  const size_t before = openDescriptors();
  {
    Mesh mesh(*ns);
    mesh.start();
    const App app(*ns);
    HbonePeer peer = mesh.peer();
    StreamId id = 0;
    REQUIRE(peer.ask(app.authority(), &id) == 200);
    const Line line = app.accept();
    const Line shaking = dial(*ns, "127.0.0.1", 15008);
    SUBCASE("connections") {}
    SUBCASE("and pods on their way, of which some fail") {
      const auto full = NetworkNamespace::make();
      const App taken(*full, "0.0.0.0", 15008);
      for (size_t i = 0; i < 8; i++) {
        mesh.engine->addPod({"late-" + std::to_string(i), kCartUid, kCart},
                            i % 2 == 0 ? ns->fd() : full->fd(), [](const Status&) {});
      }
    }
    mesh.engine.reset();
    CHECK(line.nextError() == ECONNRESET);
    CHECK(peer.untilClosed());
  }
  CHECK(openDescriptors() == before);
}
