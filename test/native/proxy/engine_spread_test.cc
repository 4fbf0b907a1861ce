// SPDX-License-Identifier: Apache-2.0
// How the workers of an engine share a pod: one socket a port, and connections for all. Needs root.
// clang-format off
#include "proxy/engine_worker.h"
#include "proxy/one_destination.h"
#include "proxy/one_pod.h"

#include <doctest/doctest.h>
// clang-format on

#include <fcntl.h>

#include <future>

using namespace weft::test;
using weft::Counter;
using weft::Status;
using weft::UniqueFd;
using weft::http::StreamId;
using weft::proxy::Accepted;
using weft::proxy::Spread;

namespace {

constexpr uint16_t kPorts[] = {15001, 15006, 15008};

/// What bind() says to a socket in `ns` that may share its port with everybody; 0 when it is bound.
int bindShared(const NetworkNamespace& ns, const char* ip, uint16_t port) {
  const UniqueFd fd = ns.socket();
  const int on = 1;
  need(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  need(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
  const sockaddr_in at = addressOf(ip, port);
  return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0 ? 0 : errno;
}

/// One worker of two, the one that does not listen, with the pod "cart". What it is handed is
/// carried to `app`, which is outside of the mesh.
class SecondWorker {
 public:
  SecondWorker(const NetworkNamespace& ns, const App& app)
      : ns_(ns), to_({*weft::Ip::parse(NetworkNamespace::kOutside), app.port()}) {
    auto tables = weft::proxy::Tables::apply(
        weft::proxy::Tables::empty(),
        DeltaWriter().add(workload("cart", "10.1.1.1")).policiesReceived().bytes());
    need(tables.ok());
    worker_.setTables(tables.value());
    auto budget = std::make_shared<weft::proxy::PodBudget>(
        settings_.limits, std::make_shared<weft::proxy::SharedSum>(1U << 20));
    std::promise<Status> done;
    worker_.addPod({"cart", kCartUid, kCart}, UniqueFd(::fcntl(ns.fd().get(), F_DUPFD_CLOEXEC, 0)),
                   {budget, spread, nullptr},
                   [&](const Status& status) { done.set_value(status); });
    need(done.get_future().get().ok());
  }
  /// Hands over a connection that the listener of a pod with that spread captured; its other end.
  Line handOver(const std::string& uid, std::shared_ptr<Spread> of) {
    const App listener(ns_);
    Line near = dial(ns_, "127.0.0.1", listener.port());
    Line far = listener.accept();
    worker_.handOver(uid, Accepted{15001, std::move(far.fd), {}, std::move(of)});
    return near;
  }
  void drain() {
    worker_.drain(kWaitSeconds * 1000, [](size_t) {});
  }
  uint64_t accepted() const { return counters_.sum(Counter::kOutboundAccepted); }

  const std::shared_ptr<Spread> spread = std::make_shared<Spread>(0, 2);

 private:
  const NetworkNamespace& ns_;
  OneDestination to_;
  Settings settings_ = settingsOf(2);
  weft::CounterTable counters_{2};
  weft::proxy::EventQueue queue_{[] {}, 1 << 20};
  weft::proxy::EngineWorker worker_{1, settings_, counters_.row(1), queue_, to_};
};

}  // namespace

TEST_CASE("nobody gets a pod's ports beside two workers, whatever the address and the options") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns);
  mesh.start();
  for (const uint16_t port : kPorts) {
    CHECK(bindShared(*ns, "0.0.0.0", port) == EADDRINUSE);
    CHECK(bindShared(*ns, "127.0.0.1", port) == EADDRINUSE);
  }
  CHECK(mesh.removePod("cart").ok());
  for (const uint16_t port : kPorts) {
    CHECK(bindShared(*ns, "0.0.0.0", port) == 0);
  }
}

TEST_CASE("a pod's connections go round all workers, and each serves") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns, settingsOf(3));
  mesh.start();
  const App app(*ns);
  std::vector<std::unique_ptr<HbonePeer>> peers;
  for (int i = 0; i < 6; i++) {
    peers.push_back(std::make_unique<HbonePeer>(*ns, mesh.identity(kWeb), kCart));
    CHECK(peers.back()->ready());
  }
  for (size_t i = 0; i < 3; i++) {
    CHECK(mesh.engine->counters()->row(i).get(Counter::kInboundAccepted) == 2);
  }
  for (auto& peer : peers) {
    StreamId id = 0;
    CHECK(peer->ask(app.authority(), &id) == 200);
    const Line line = app.accept();
    CHECK(peer->send(id, bytesOf("question")));
    CHECK(line.read(8) == bytesOf("question"));
  }
}

TEST_CASE("a pod may be added anew with everything open, and its ports stay its own") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  Mesh mesh(*ns, settingsOf(3));
  mesh.start();
  HbonePeer before = mesh.peer();
  CHECK(before.ready());
  for (int i = 0; i < 20; i++) {
    REQUIRE(mesh.addPod("cart").ok());
    CHECK(bindShared(*ns, "127.0.0.1", 15008) == EADDRINUSE);
  }
  const App app(*ns);
  CHECK(mesh.peer().ask(app.authority()) == 200);
}

TEST_CASE("what another worker accepted is carried, or reset where its pod is no more") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  ns->addOutside();
  const App app(*ns, NetworkNamespace::kOutside);
  SecondWorker second(*ns, app);
  const Line near = second.handOver("cart", second.spread);
  const Line far = app.accept();
  CHECK(second.accepted() == 1);
  std::string uid = "cart";
  std::shared_ptr<Spread> of = second.spread;
  SUBCASE("of a pod that is not here") {
    uid = "other";
  }
  SUBCASE("of the pod that this one replaced") {
    of = std::make_shared<Spread>(0, 2);
  }
  SUBCASE("of a pod that drains") {
    second.drain();
  }
  CHECK(second.handOver(uid, of).nextError() == ECONNRESET);
  CHECK(second.accepted() == 1);
  CHECK(near.send(bytesOf("hello")));
  CHECK(far.read(5) == bytesOf("hello"));
}
