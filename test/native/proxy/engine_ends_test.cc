// SPDX-License-Identifier: Apache-2.0
// How streams end in the engine as it runs, with real sockets in throw-away network namespaces.
// Needs root.
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/one_pod.h"

#include <doctest/doctest.h>
// clang-format on

using namespace weft::test;
using weft::Counter;
using weft::Status;
using weft::http::H2Error;
using weft::http::StreamId;

TEST_CASE("either side of a stream may end first, and the other still speaks") {
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
  SUBCASE("the client") {
    CHECK(peer.send(id, bytesOf("question")));
    peer.end(id);
    CHECK(line.read(100) == bytesOf("question"));
    CHECK(line.atEnd());
    CHECK(line.send(bytesOf("answer")));
    line.end();
    CHECK(peer.untilOver(id));
    CHECK(peer[id].data == bytesOf("answer"));
  }
  SUBCASE("the application") {
    CHECK(line.send(bytesOf("hello")));
    line.end();
    CHECK(peer.untilOver(id));
    CHECK(peer[id].data == bytesOf("hello"));
    CHECK(peer.send(id, bytesOf("late")));
    peer.end(id);
    CHECK(line.read(100) == bytesOf("late"));
  }
  CHECK(peer[id].ended);
  CHECK_FALSE(peer[id].reset.has_value());
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kNone));
}

TEST_CASE("the last bytes of a stream and its end reach the application in one segment") {
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
  const uint32_t before = segmentsOf(line.fd.get()).received;
  const Bytes words = bytesOf("last words");
  REQUIRE(peer.queue(id, words) == words.size());
  peer.queueEnd(id);
  peer.flush();
  CHECK(line.read(words.size()) == words);
  CHECK(line.atEnd());
  CHECK(segmentsOf(line.fd.get()).received == before + 1);
}

TEST_CASE("a reset on one side is a reset on the other, and the tunnel outlives it") {
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
  Line line = app.accept();
  SUBCASE("the application's") {
    line.reset();
    CHECK(peer.untilOver(id));
    CHECK(peer[id].reset == H2Error::kConnectError);
  }
  SUBCASE("the client's") {
    peer.reset(id, H2Error::kCancel);
    CHECK(line.nextError() == ECONNRESET);
  }
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kReset));
  CHECK(mesh.count(Counter::kStreamsReset) == 1);

  CHECK(peer.ask(app.authority(), &id) == 200);
  peer.vanish();
  CHECK(app.accept().fd);
  CHECK(mesh.event(EventKind::kClosed).has_value());
}

TEST_CASE("what came before a reset reaches the application, though in one segment with it") {
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
  const Bytes words = bytesOf("last words");
  REQUIRE(peer.queue(id, words) == words.size());
  peer.queueEnd(id);
  peer.frame();
  peer.reset(id, H2Error::kNoError);
  CHECK(line.read(words.size()) == words);
  CHECK(line.atEnd());
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kReset));
}

TEST_CASE("a tunnel that ends resets its streams, and forgets those reset before") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId first = 0;
  StreamId second = 0;
  REQUIRE(peer.ask(app.authority(), &first) == 200);
  const Line one = app.accept();
  REQUIRE(peer.ask(app.authority(), &second) == 200);
  const Line two = app.accept();
  peer.reset(first, H2Error::kCancel);
  CHECK(one.nextError() == ECONNRESET);
  peer.vanish();
  CHECK(two.nextError() == ECONNRESET);
  CHECK(mesh.event(EventKind::kClosed).has_value());
  CHECK(mesh.event(EventKind::kClosed).has_value());
  CHECK(mesh.removePod("cart").ok());
  CHECK(mesh.count(Counter::kStreamsClosed) == 2);
  CHECK(mesh.count(Counter::kTunnelsClosed) == 1);
}

TEST_CASE("a stream that ends in the midst of a read keeps nothing from those behind it") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId first = 0;
  StreamId second = 0;
  REQUIRE(peer.ask(app.authority(), &first) == 200);
  const Line one = app.accept();
  REQUIRE(peer.ask(app.authority(), &second) == 200);
  const Line two = app.accept();
  one.end();
  REQUIRE(peer.untilOver(first));
  // Both in one flight: the first stream is over as soon as its bytes are written.
  CHECK(peer.queue(first, bytesOf("last")) == 4);
  peer.queueEnd(first);
  CHECK(peer.queue(second, bytesOf("next")) == 4);
  CHECK(peer.flush());
  CHECK(one.read(4) == bytesOf("last"));
  CHECK(one.atEnd());
  CHECK(two.read(4) == bytesOf("next"));
  CHECK(peer.send(second, bytesOf("more")));
  CHECK(two.read(4) == bytesOf("more"));
}

TEST_CASE("a stream whose peer grants no window while bytes wait for it is reset, and no other") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  constexpr size_t kWindow = 1024;
  Settings settings = settingsOf(1);
  settings.stalledMs = 50;
  Mesh mesh(*ns, settings);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peerWithWindow(kWindow);
  peer.stopTaking();
  StreamId idle = 0;
  StreamId full = 0;
  REQUIRE(peer.ask(app.authority(), &idle) == 200);
  const Line idleLine = app.accept();
  REQUIRE(peer.ask(app.authority(), &full) == 200);
  const Line fullLine = app.accept();
  CHECK(fullLine.send(pattern(kWindow)));
  // Each time it takes as long as the others have been without window, and longer.
  for (int i = 0; i < 2; i++) {
    StreamId id = 0;
    REQUIRE(peer.ask(app.authority(), &id) == 200);
    const Line line = app.accept();
    CHECK(line.send(pattern(kWindow + 1)));
    CHECK(peer.untilOver(id));
    CHECK(peer[id].reset == H2Error::kConnectError);
    CHECK(peer[id].data.size() == kWindow);
    CHECK(line.nextError() == ECONNRESET);
    const auto closed = mesh.event(EventKind::kClosed);
    REQUIRE(closed.has_value());
    CHECK(closed->is(Reason::kLimit));
    CHECK(closed->detail.starts_with("the peer granted no window for "));
  }
  CHECK(peer[full].data == pattern(kWindow));
  CHECK(fullLine.send(bytesOf("more")));
  peer.take(full, kWindow);
  CHECK(peer.until([&] { return peer[full].data.size() == kWindow + 4; }));
  CHECK(idleLine.send(bytesOf("hello")));
  CHECK(peer.until([&] { return peer[idle].data == bytesOf("hello"); }));
  CHECK(mesh.count(Counter::kStreamsClosed) == 2);
}

TEST_CASE("the application's end needs no window") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  Bytes words;
  SUBCASE("when the peer grants none") {}
  SUBCASE("when the last bytes filled it") {
    words = pattern(1024);
  }
  HbonePeer peer = mesh.peerWithWindow(static_cast<uint32_t>(words.size()));
  peer.stopTaking();
  StreamId id = 0;
  REQUIRE(peer.ask(app.authority(), &id) == 200);
  const Line line = app.accept();
  CHECK(line.send(words));
  CHECK(peer.until([&] { return peer[id].data.size() == words.size(); }));
  line.end();
  CHECK(peer.untilOver(id));
  CHECK(peer[id].ended);
  CHECK(peer[id].data == words);
  peer.end(id);
  CHECK(line.atEnd());
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kNone));
}

TEST_CASE("a connection that moves no byte ends where a limit says so, in each of its states") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  bool half = false;
  bool stuck = false;
  SUBCASE("open both ways") {
    settings.streamIdleMs = 50;
  }
  SUBCASE("half closed") {
    settings.halfClosedIdleMs = 50;
    half = true;
  }
  SUBCASE("ended both ways, with bytes that the application does not take") {
    settings.finWaitMs = 50;
    half = stuck = true;
  }
  ns->limitBuffers(8 << 10);
  Mesh mesh(*ns, settings);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId id = 0;
  REQUIRE(peer.ask(app.authority(), &id) == 200);
  const Line line = app.accept();
  if (stuck) {
    line.end();
    REQUIRE(peer.untilOver(id));
    // More than both sockets hold, within the stream's window: the rest stays with the proxy.
    CHECK(peer.send(id, pattern(settings.h2.streamWindowBytes - 1)));
  }
  if (half) {
    peer.end(id);
  }
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kLimit));
  CHECK(closed->detail.starts_with("no byte moved for "));
}

TEST_CASE("an end counts as movement: a stream that was idle for long ends cleanly") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  settings.halfClosedIdleMs = 1500;
  Mesh mesh(*ns, settings);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId id = 0;
  REQUIRE(peer.ask(app.authority(), &id) == 200);
  const Line line = app.accept();
  CHECK(line.quietFor(1600));
  SUBCASE("the client's") {
    peer.end(id);
    CHECK(line.atEnd());
    CHECK(line.send(bytesOf("late")));
    line.end();
    CHECK(peer.untilOver(id));
    CHECK(peer[id].data == bytesOf("late"));
  }
  SUBCASE("the application's") {
    line.end();
    CHECK(peer.untilOver(id));
    peer.end(id);
    CHECK(line.atEnd());
  }
  CHECK_FALSE(peer[id].reset.has_value());
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kNone));
}

TEST_CASE("what a peer has not taken yet is not lost when its tunnel closes for another reason") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  ns->limitBuffers(8 << 10);
  Mesh mesh(*ns);
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  StreamId id = 0;
  REQUIRE(peer.ask(app.authority(), &id) == 200);
  const Line line = app.accept();
  peer.end(id);
  CHECK(line.atEnd());
  // All of it is within the stream's window, and more than the tunnel's sockets hold.
  const Bytes words = pattern(60 << 10);
  CHECK(line.send(words));
  line.end();
  const auto closed = mesh.event(EventKind::kClosed);
  REQUIRE(closed.has_value());
  CHECK(closed->is(Reason::kNone));
  // The tunnel has no stream left, and ends: its certificate is superseded. Time is the subject: so
  // long it waits for the peer's last requests.
  mesh.engine->setIdentity(mesh.identity(kCart));
  std::this_thread::sleep_for(std::chrono::milliseconds(2 * weft::proxy::kDrainGraceMs));
  CHECK(peer.untilOver(id));
  CHECK(peer[id].data == words);
  CHECK(peer[id].ended);
  CHECK(peer.untilClosed());
}

TEST_CASE("a pod may go while a tunnel's first flight waits for an answer to go along") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  std::promise<void> stopped;
  std::promise<void> go;
  Mesh mesh(*ns, settingsOf(1));
  mesh.start();
  const App app(*ns);
  HbonePeer peer = mesh.peer();
  peer.open(app.authority());  // goes out with the end of the handshake
  REQUIRE(peer.hears());
  // The worker stands still until the request has arrived. It takes that in its next turn, and the
  // order to remove the pod in the one after it.
  mesh.engine->snapshot([&](const std::string&) {
    stopped.set_value();
    go.get_future().wait();
  });
  stopped.get_future().wait();
  REQUIRE(peer.ready());
  const Status removed = Mesh::waitFor([&](const Engine::Done& done) {
    mesh.engine->snapshot([&, done](const std::string&) { mesh.engine->removePod("cart", done); });
    go.set_value();
  });
  CHECK(removed.ok());
  CHECK(peer.untilClosed());
  CHECK(mesh.count(Counter::kTunnelsClosed) == 1);
}
