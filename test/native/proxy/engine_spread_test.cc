// SPDX-License-Identifier: Apache-2.0
// How the workers of an engine share a pod: one socket a port, and connections for all. Needs root.
// clang-format off
#include "proxy/engine_worker.h"
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

/// One worker of two, the one that does not listen, with the pod "cart".
class SecondWorker {
 public:
  explicit SecondWorker(const NetworkNamespace& ns) : ns_(ns) {
    auto budget = std::make_shared<weft::proxy::PodBudget>(
        settings_.limits, std::make_shared<weft::proxy::SharedSum>(1U << 20));
    std::promise<Status> done;
    worker_.addPod({"cart", kCartUid, kCart}, UniqueFd(::fcntl(ns.fd().get(), F_DUPFD_CLOEXEC, 0)),
                   {budget, spread, nullptr},
                   [&](const Status& status) { done.set_value(status); });
    need(done.get_future().get().ok());
  }
  /// Hands over a connection that the listener of a pod with that spread accepted; its other end.
  Line handOver(const std::string& uid, std::shared_ptr<Spread> of, uint16_t port = 15008) {
    const App listener(ns_);
    Line near = dial(ns_, "127.0.0.1", listener.port());
    Line far = listener.accept();
    worker_.handOver(uid, Accepted{port, std::move(far.fd), {}, std::move(of)});
    return near;
  }
  void drain() {
    worker_.drain(kWaitSeconds * 1000, [] {});
  }
  uint64_t count(Counter which) const { return counters_.sum(which); }

  const std::shared_ptr<Spread> spread = std::make_shared<Spread>(0, 2);

 private:
  const NetworkNamespace& ns_;
  Settings settings_ = settingsOf(2);
  weft::CounterTable counters_{2};
  weft::proxy::EventQueue queue_{[] {}, 1 << 20};
  weft::io::NetfilterOriginalDst originalDst_;
  weft::proxy::EngineWorker worker_{1, settings_, counters_.row(1), queue_, originalDst_};
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

TEST_CASE("what another worker accepted is taken up, or reset where its pod is no more") {
  auto ns = newNamespace();
  if (!ns) {
    return;
  }
  SecondWorker second(*ns);
  SUBCASE("taken up") {
    const Line line = second.handOver("cart", second.spread, 15001);
    // The workload is unknown and so is the destination: refused, but by the pod.
    CHECK(line.nextError() == ECONNRESET);
    CHECK(second.count(Counter::kOutboundAccepted) == 1);
    return;
  }
  SUBCASE("of another pod") {
    CHECK(second.handOver("other", second.spread).nextError() == ECONNRESET);
  }
  SUBCASE("of the pod that this one replaced") {
    const auto old = std::make_shared<Spread>(0, 2);
    CHECK(second.handOver("cart", old).nextError() == ECONNRESET);
  }
  SUBCASE("of a pod that drains") {
    // Waits for the pod's certificate, and so keeps the pod.
    const Line open = second.handOver("cart", second.spread);
    second.drain();
    CHECK(second.handOver("cart", second.spread).nextError() == ECONNRESET);
    CHECK(second.count(Counter::kInboundAccepted) == 1);
    return;
  }
  CHECK(second.count(Counter::kInboundAccepted) == 0);
}
