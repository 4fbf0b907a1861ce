// SPDX-License-Identifier: Apache-2.0
// What becomes of connections of pods that are captured in the kernel, by real sockets in network
// namespaces of the test's own. Needs root.
#include "kernel/node_capture.h"

#include <bpf/libbpf.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <string>

#include "kernel/two_pods.h"

using weft::Endpoint;
using weft::Ip;
using weft::UniqueFd;
using weft::kernel::NodeCapture;
using weft::test::Accepted;
using weft::test::acceptFrom;
using weft::test::askFrom;
using weft::test::Attempt;
using weft::test::connectFrom;
using weft::test::CounterSteps;
using weft::test::hasConnection;
using weft::test::hasRoot;
using weft::test::kSpellings;
using weft::test::nameOf;
using weft::test::peerOf;
using weft::test::receiveAt;
using weft::test::Role;
using weft::test::ScratchPod;
using weft::test::Spelling;
using weft::test::TwoPods;
using Steps = std::map<std::string, uint64_t>;

namespace {

/// Where ztunnel listens in a pod.
constexpr uint16_t kOutbound = 15001;
constexpr uint16_t kPlaintext = 15006;
constexpr uint16_t kHbone = 15008;
constexpr uint16_t kDns = 15053;
constexpr uint16_t kApp = 8080;

/// The proxy's listener of one kind, made known to the kernel.
UniqueFd serve(TwoPods& pods, const ScratchPod& pod, uint16_t port) {
  UniqueFd listener = pod.listen(port);
  REQUIRE(pods.node.proxy().of(pod.netns.fd.get())->serve(listener.get(), port).ok());
  return listener;
}

/// Whom a datagram that waits is from; its text goes to `text`.
Endpoint receive(const UniqueFd& socket, std::string& text) {
  weft::test::waitReadable(socket);
  char buffer[64];
  sockaddr_storage from{};
  socklen_t size = sizeof from;
  const ssize_t got =
      ::recvfrom(socket.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
  REQUIRE(got >= 0);
  text.assign(buffer, static_cast<size_t>(got));
  return *Endpoint::fromSockaddr(from);
}

}  // namespace

TEST_CASE("a captured connection reaches the proxy, and the application sees whom it asked for") {
  if (!hasRoot()) {
    return;
  }
  TwoPods pods;
  REQUIRE(pods.enrol(pods.a).ok());
  const UniqueFd proxy = pods.a.listen(kOutbound);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint to = pods.b.at(spelling, 80);
    const Attempt app = connectFrom(pods.a.netns, spelling, to);
    REQUIRE(app.error == 0);
    CHECK(peerOf(app.socket) == to);
    CHECK(nameOf(app.socket).ip == pods.a.ip(spelling));
    const Accepted accepted = acceptFrom(proxy);
    CHECK(accepted.peer.ip.isLoopback());
    CHECK(accepted.peer.port == nameOf(app.socket).port);
    CHECK(steps.take() == Steps{{"outbound_captured", 1}});
  }
}

TEST_CASE("the proxy is told once where a captured connection was going") {
  if (!hasRoot()) {
    return;
  }
  TwoPods pods;
  REQUIRE(pods.enrol(pods.a).ok());
  const UniqueFd proxy = pods.a.listen(kOutbound);
  const auto capture = pods.node.proxy().of(pods.a.netns.fd.get());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint to = pods.b.at(spelling, 443);
    const Attempt app = connectFrom(pods.a.netns, spelling, to);
    REQUIRE(app.error == 0);
    const Accepted accepted = acceptFrom(proxy);
    const auto origin = capture->outboundDst(accepted.socket.get(), accepted.peer);
    REQUIRE(origin.has_value());
    CHECK(origin->destination == to);
    CHECK(origin->picked.port == 0);
    CHECK_FALSE(capture->outboundDst(accepted.socket.get(), accepted.peer).has_value());
  }
}

TEST_CASE("nothing is captured in a network namespace that is no pod's") {
  if (!hasRoot()) {
    return;
  }
  TwoPods pods;
  REQUIRE(pods.enrol(pods.a).ok());
  REQUIRE(pods.node.agent().release(pods.a.netns.cookie).ok());
  const UniqueFd app = pods.b.listen(kApp);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Attempt client = connectFrom(pods.a.netns, spelling, pods.b.at(spelling, kApp));
    REQUIRE(client.error == 0);
    CHECK(acceptFrom(app).peer == nameOf(client.socket));
  }
  CHECK(steps.take() == Steps{});
}

TEST_CASE("a pod with more addresses than are its share is not captured") {
  TwoPods pods;
  std::vector<Ip> many(WEFT_ADDRESSES_OF_POD_MAX + 1);
  for (size_t i = 0; i < many.size(); i++) {
    many[i] = *Ip::parse("10.99.1." + std::to_string(i + 1));
  }
  const int netns = pods.a.netns.fd.get();
  CHECK(pods.node.agent().enrol(netns, pods.a.netns.cookie, many, false).code() ==
        weft::Code::kLimit);
  CHECK_FALSE(pods.node.agent().has(pods.a.netns.cookie));
  many.pop_back();
  CHECK(pods.node.agent().enrol(netns, pods.a.netns.cookie, many, false).ok());
  CHECK(pods.node.agent().addresses(pods.a.netns.cookie).size() == many.size());
}

TEST_CASE("what a stranger sends to a pod comes to the proxy's listeners, or to nobody") {
  if (!hasRoot()) {
    return;
  }
  TwoPods pods;
  REQUIRE(pods.enrol(pods.b).ok());
  const UniqueFd app = pods.b.listen(kApp);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    CHECK(connectFrom(pods.a.netns, spelling, pods.b.at(spelling, kApp)).error == ECONNREFUSED);
    CHECK(steps.take() == Steps{{"inbound_refused_no_listener", 1}});
  }
  const UniqueFd plaintext = serve(pods, pods.b, kPlaintext);
  const UniqueFd tunnel = serve(pods, pods.b, kHbone);
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint to = pods.b.at(spelling, kApp);
    const Attempt client = connectFrom(pods.a.netns, spelling, to);
    REQUIRE(client.error == 0);
    const Accepted accepted = acceptFrom(plaintext);
    CHECK(nameOf(accepted.socket) == to);
    CHECK(steps.take() == Steps{{"inbound_captured", 1}});
    REQUIRE(connectFrom(pods.a.netns, spelling, pods.b.at(spelling, kHbone)).error == 0);
    CHECK(nameOf(acceptFrom(tunnel).socket) == pods.b.at(spelling, kHbone));
    CHECK(steps.take() == Steps{{"inbound_tunnel", 1}});
  }
  CHECK_FALSE(hasConnection(app));
}

TEST_CASE("the kubelet's and the proxy's connections reach the application") {
  if (!hasRoot()) {
    return;
  }
  TwoPods pods;
  REQUIRE(pods.enrol(pods.b).ok());
  const UniqueFd plaintext = serve(pods, pods.b, kPlaintext);
  const UniqueFd app = pods.b.listen(kApp);
  CounterSteps steps(pods.node.agent());
  for (const auto& [role, from] : {std::pair{Role::kKubelet, &pods.a}, {Role::kProxy, &pods.b}}) {
    pods.node.be(role);
    for (const Spelling spelling : kSpellings) {
      INFO(static_cast<int>(role), static_cast<int>(spelling));
      const Attempt client = connectFrom(from->netns, spelling, pods.b.at(spelling, kApp));
      REQUIRE(client.error == 0);
      CHECK(acceptFrom(app).peer == nameOf(client.socket));
      CHECK(steps.take() == Steps{{"inbound_passed", 1}, {"pass_published", 1}});
    }
  }
  CHECK_FALSE(hasConnection(plaintext));
}

TEST_CASE("a proxy that hangs is taken for dead, until its next word") {
  if (!hasRoot()) {
    return;
  }
  TwoPods pods;
  REQUIRE(pods.enrol(pods.a).ok());
  const UniqueFd outbound = serve(pods, pods.a, kOutbound);
  const UniqueFd plaintext = serve(pods, pods.a, kPlaintext);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint out = pods.b.at(spelling, 80);
    const Endpoint in = pods.a.at(spelling, kApp);
    pods.node.hang();
    CHECK(connectFrom(pods.a.netns, spelling, out).error == ECONNREFUSED);
    CHECK(connectFrom(pods.b.netns, spelling, in).error == ECONNREFUSED);
    CHECK(steps.take() == Steps{{"inbound_refused_down", 1}, {"outbound_refused_down", 1}});
    pods.node.proxy().beat();
    CHECK(connectFrom(pods.a.netns, spelling, out).error == 0);
    CHECK(connectFrom(pods.b.netns, spelling, in).error == 0);
    CHECK(steps.take() == Steps{{"inbound_captured", 1}, {"outbound_captured", 1}});
  }
}

TEST_CASE("questions to resolvers go to the node's, and are answered in the asked one's name") {
  if (!hasRoot()) {
    return;
  }
  TwoPods pods;
  REQUIRE(pods.enrol(pods.a).ok());
  const UniqueFd resolver = receiveAt(pods.a.netns, kDns);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint to = pods.b.at(spelling, 53);
    const UniqueFd client = askFrom(pods.a.netns, spelling, to, "who?");
    std::string text;
    const sockaddr_in6 back = receive(resolver, text).toSockaddr();
    CHECK(text == "who?");
    REQUIRE(::sendto(resolver.get(), "you", 3, 0, reinterpret_cast<const sockaddr*>(&back),
                     sizeof back) == 3);
    CHECK(receive(client, text) == to);
    CHECK(text == "you");
    CHECK(steps.take() == Steps{{"dns_captured", 1}});
  }
}

TEST_CASE("programs are replaced in their places, and tables stay") {
  if (!hasRoot()) {
    return;
  }
  TwoPods pods;
  REQUIRE(pods.enrol(pods.a).ok());
  const UniqueFd proxy = pods.a.listen(kOutbound);
  const auto again = NodeCapture::open(pods.node.options());
  REQUIRE(again.ok());
  CHECK(again.value()->has(pods.a.netns.cookie));
  REQUIRE(pods.enrol(pods.a).ok());
  const UniqueFd plaintext = serve(pods, pods.a, kPlaintext);
  CounterSteps steps(pods.node.agent());
  REQUIRE(connectFrom(pods.a.netns, Spelling::kIpv4, pods.b.at(Spelling::kIpv4, 80)).error == 0);
  REQUIRE(connectFrom(pods.b.netns, Spelling::kIpv6, pods.a.at(Spelling::kIpv6, 80)).error == 0);
  CHECK(steps.take() == Steps{{"outbound_captured", 1}, {"inbound_captured", 1}});
}
