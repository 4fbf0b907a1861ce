// SPDX-License-Identifier: Apache-2.0
// Plaintext connections with real sockets in a throw-away network namespace. Needs root.
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/engine_worker.h"
#include "proxy/one_destination.h"
#include "proxy/one_pod.h"

#include <doctest/doctest.h>
// clang-format on

#include <future>

using namespace weft::test;
using weft::Counter;
using weft::Endpoint;
using weft::Ip;
using weft::Status;

namespace {

/// One worker with the pod "cart", whose captured connections lead out of the mesh to `app`.
class Caller {
 public:
  Caller(const NetworkNamespace& ns, const App& app, const Settings& settings)
      : settings_(settings),
        to_({*Ip::parse(NetworkNamespace::kOutside), app.port()}),
        worker_(0, settings_, counters_.row(0), queue_, to_) {
    auto tables = weft::proxy::Tables::apply(
        weft::proxy::Tables::empty(),
        DeltaWriter().add(workload("cart", "10.1.1.1")).policiesReceived().bytes());
    need(tables.ok());
    worker_.setTables(tables.value());
    auto netns = weft::UniqueFd(::fcntl(ns.fd().get(), F_DUPFD_CLOEXEC, 0));
    auto budget = std::make_shared<weft::proxy::PodBudget>(
        settings_.limits, std::make_shared<weft::proxy::SharedSum>(1U << 20));
    std::promise<Status> done;
    const auto alone = std::make_shared<weft::proxy::Spread>(0, 1);
    worker_.addPod({"cart", kCartUid, kCart}, std::move(netns), {budget, alone, nullptr},
                   [&](const Status& status) { done.set_value(status); });
    need(done.get_future().get().ok());
  }
  /// What was reported until the worker's end.
  std::vector<Event> endedEvents() {
    worker_.close();
    return readEvents(queue_.take()).events;
  }
  uint64_t count(Counter which) const { return counters_.sum(which); }

 private:
  Settings settings_;
  OneDestination to_;
  weft::CounterTable counters_{1};
  weft::proxy::EventQueue queue_{[] {}, 1 << 20};
  weft::proxy::EngineWorker worker_;
};

}  // namespace

TEST_CASE("a plaintext connection that was idle for long ends as cleanly as any other") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  int idleMs = 150;
  Bytes late;
  SUBCASE("idle for longer than both ends may take") {
    settings.finWaitMs = 50;
  }
  SUBCASE("idle for longer than it may be half closed") {
    settings.halfClosedIdleMs = 400;
    idleMs = 500;
    late = bytesOf("late");
  }
  ns->addOutside();
  const App app(*ns, NetworkNamespace::kOutside);
  Caller caller(*ns, app, settings);
  const Line near = dial(*ns, "127.0.0.1", 15001);
  const Line far = app.accept();
  CHECK(near.send(bytesOf("hello")));
  CHECK(far.read(5) == bytesOf("hello"));
  CHECK(near.quietFor(idleMs));
  near.end();
  CHECK(far.atEnd());
  CHECK(far.send(late));
  far.end();
  CHECK(near.read(100) == late);
  CHECK(near.atEnd());

  const std::vector<Event> events = caller.endedEvents();
  INFO(events.front().detail);
  REQUIRE(events.size() == 2);
  CHECK(events[0].is(EventKind::kOpened));
  CHECK(events[1].is(EventKind::kClosed));
  CHECK(events[1].is(Reason::kNone));
  CHECK(events[1].detail.empty());
  CHECK(caller.count(Counter::kPassthroughClosed) == 1);
}

TEST_CASE("a plaintext connection that moves no byte ends where a limit says so") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  bool half = false;
  SUBCASE("open both ways") {
    settings.streamIdleMs = 50;
  }
  SUBCASE("half closed") {
    settings.halfClosedIdleMs = 50;
    half = true;
  }
  ns->addOutside();
  const App app(*ns, NetworkNamespace::kOutside);
  Caller caller(*ns, app, settings);
  const Line near = dial(*ns, "127.0.0.1", 15001);
  const Line far = app.accept();
  if (half) {
    near.end();
    CHECK(far.atEnd());
  }
  CHECK(near.nextError() == ECONNRESET);
  const std::vector<Event> events = caller.endedEvents();
  INFO(events.front().detail);
  REQUIRE(events.size() == 2);
  CHECK(events[1].is(Reason::kLimit));
}

TEST_CASE("a client outside of the mesh has half of a pod's connections, and others the rest") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Settings settings = settingsOf(1);
  settings.limits.connectionsPerPod = 5;
  ns->addOutside();
  const App app(*ns, NetworkNamespace::kOutside);
  Caller caller(*ns, app, settings);
  std::vector<Line> lines;
  const auto comeFrom = [&](const char* source) {
    lines.push_back(dial(*ns, source, 15006));
    CHECK(app.accept().send(bytesOf("in")));
    CHECK(lines.back().read(2) == bytesOf("in"));
  };
  for (int i = 0; i < 3; i++) {
    comeFrom("127.0.0.1");
  }
  CHECK(dial(*ns, "127.0.0.1", 15006).nextError() == ECONNRESET);
  CHECK(caller.count(Counter::kLimitReached) == 1);
  comeFrom(NetworkNamespace::kOutside);
  comeFrom(NetworkNamespace::kOutside);
  CHECK(dial(*ns, NetworkNamespace::kOutside, 15006).nextError() == ECONNRESET);
}
