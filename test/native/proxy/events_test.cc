// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/events.h"

#include "proxy/event_reader.h"

#include <doctest/doctest.h>
// clang-format on

#include <atomic>
#include <thread>

namespace weft::proxy {
namespace {

using test::Event;
using test::readEvents;

constexpr size_t kQueueBytes = 4096;

Endpoint at(const char* ip, uint16_t port) {
  return {*Ip::parse(ip), port};
}

ConnectionInfo inTunnel() {
  auto source = std::make_shared<Workload>();
  source->uid = "Kubernetes//Pod/shop/web";
  auto destination = std::make_shared<Workload>();
  destination->uid = "Kubernetes//Pod/shop/cart";
  ConnectionInfo info;
  info.direction = Direction::kInbound;
  info.source = at("10.0.0.1", 40000);
  info.destination = at("fd00::2", 8080);
  info.tunnel = at("10.0.0.2", 15008);
  info.sourceIdentity = "spiffe://cluster.local/ns/shop/sa/web";
  info.destinationIdentity = "spiffe://cluster.local/ns/shop/sa/cart";
  info.sourceWorkload = source;
  info.destinationWorkload = destination;
  info.destinationService = "shop/cart.shop.svc.cluster.local";
  info.bytesSent = 1ULL << 40;
  info.bytesReceived = 7;
  info.startedMicros = 1000;
  return info;
}

TEST_CASE("an event says all that is known of a connection") {
  std::string batch;
  encodeConnectionEvent(EventKind::kClosed, "pod-1", inTunnel(),
                        {Reason::kDenied, "policy changed", "shop/none"}, 3500, batch);
  const auto read = readEvents(batch);
  REQUIRE(read.events.size() == 1);
  const Event& e = read.events[0];
  CHECK(e.is(EventKind::kClosed));
  CHECK(e.direction == 1);
  CHECK(e.podUid == "pod-1");
  CHECK(e.source == "10.0.0.1:40000");
  CHECK(e.destination == "[fd00::2]:8080");
  CHECK(e.tunnel == "10.0.0.2:15008");
  CHECK(e.sourceIdentity == "spiffe://cluster.local/ns/shop/sa/web");
  CHECK(e.destinationIdentity == "spiffe://cluster.local/ns/shop/sa/cart");
  CHECK(e.sourceWorkload == "Kubernetes//Pod/shop/web");
  CHECK(e.destinationWorkload == "Kubernetes//Pod/shop/cart");
  CHECK(e.destinationService == "shop/cart.shop.svc.cluster.local");
  CHECK(e.sent == 1ULL << 40);
  CHECK(e.received == 7);
  CHECK(e.durationUs == 2500);
  CHECK(e.is(Reason::kDenied));
  CHECK(e.detail == "policy changed");
  CHECK(e.policy == "shop/none");
  CHECK(e.mutualTls);
  CHECK(read.dropped == 0);
}

TEST_CASE("plaintext has no tunnel and claims no mutual TLS") {
  ConnectionInfo info;
  info.source = at("10.0.0.1", 40000);
  info.destination = at("10.0.0.2", 80);
  std::string batch;
  encodeConnectionEvent(EventKind::kOpened, "pod-1", info, {}, 0, batch);
  const Event e = readEvents(batch).events.at(0);
  CHECK(e.is(EventKind::kOpened));
  CHECK(e.direction == 0);
  CHECK(e.tunnel.empty());
  CHECK_FALSE(e.mutualTls);
  CHECK(e.sourceWorkload.empty());
  CHECK(e.is(Reason::kNone));
}

TEST_CASE("batches put together are one batch, and the queue says when it has something") {
  int notified = 0;
  EventQueue queue([&] { notified++; }, kQueueBytes);
  std::string one;
  encodeConnectionEvent(EventKind::kOpened, "a", inTunnel(), {}, 1000, one);
  std::string two;
  encodeConnectionEvent(EventKind::kOpened, "b", inTunnel(), {}, 1000, two);
  CHECK(queue.append(one, 1));
  CHECK(queue.append(two, 1));
  CHECK(notified == 1);
  const auto read = readEvents(queue.take());
  REQUIRE(read.events.size() == 2);
  CHECK(read.events[0].podUid == "a");
  CHECK(read.events[1].podUid == "b");
  CHECK(queue.take().empty());
  CHECK(queue.append(one, 1));
  CHECK(notified == 2);
}

TEST_CASE("a full queue drops whole batches and says how many events that cost") {
  EventQueue queue([] {}, kQueueBytes);
  const std::string half(kQueueBytes / 2, '\0');
  CHECK(queue.append(half, 1));
  CHECK(queue.append(half, 1));
  std::string more;
  encodeConnectionEvent(EventKind::kOpened, "late", inTunnel(), {}, 1000, more);
  CHECK_FALSE(queue.append(more, 3));
  CHECK_FALSE(queue.append(more, 4));
  const std::string taken = queue.take();
  CHECK(taken.compare(0, half.size(), half) == 0);
  CHECK(readEvents(taken.substr(2 * half.size())).dropped == 7);
  CHECK(queue.append(more, 1));
  const auto after = readEvents(queue.take());
  CHECK(after.dropped == 0);
  CHECK(after.events.size() == 1);
}

TEST_CASE("no event is lost between threads while the queue has room") {
  std::atomic<int> notified = 0;
  EventQueue queue([&] { notified++; }, kQueueBytes);
  std::string one;
  encodeConnectionEvent(EventKind::kOpened, "a", inTunnel(), {}, 1000, one);
  std::vector<std::thread> writers;
  std::atomic<size_t> accepted = 0;
  for (int t = 0; t < 3; t++) {
    writers.emplace_back([&] {
      for (int i = 0; i < 2000; i++) {
        accepted += queue.append(one, 1) ? 1 : 0;
      }
    });
  }
  size_t read = 0;
  uint64_t dropped = 0;
  const auto takeAll = [&] {
    const auto batch = readEvents(queue.take());
    read += batch.events.size();
    dropped += batch.dropped;
  };
  while (read + dropped < 6000) {
    takeAll();
  }
  for (std::thread& writer : writers) {
    writer.join();
  }
  CHECK(read == accepted);
  CHECK(read + dropped == 6000);
  CHECK(notified > 0);
}

}  // namespace
}  // namespace weft::proxy
