// SPDX-License-Identifier: Apache-2.0
// Connections between two pods without a proxy, by real sockets. Needs root.
#include "kernel/direct_path.h"

#include <bpf/libbpf.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/two_pods.h"

using weft::Endpoint;
using weft::Ip;
using weft::UniqueFd;
using weft::io::DirectEvent;
using weft::io::DirectFlow;
using weft::kernel::KernelDirectPath;
using weft::test::Accepted;
using weft::test::acceptFrom;
using weft::test::Attempt;
using weft::test::connectFrom;
using weft::test::CounterSteps;
using weft::test::errorOf;
using weft::test::hasRoot;
using weft::test::kSpellings;
using weft::test::nameOf;
using weft::test::peerOf;
using weft::test::Spelling;
using weft::test::TwoPods;
using weft::test::waitReadable;
using Steps = std::map<std::string, uint64_t>;

namespace {

constexpr uint16_t kApp = 8080;
const Endpoint kService4{*Ip::parse("10.96.0.1"), 80};
const Endpoint kService6{*Ip::parse("fd96::1"), 80};
constexpr uint64_t kForEver = std::numeric_limits<uint64_t>::max();

/// Both are pods that nobody else can send as, and the proxy says whether they may connect.
struct DirectPods : TwoPods {
  DirectPods() {
    REQUIRE(enrol(a, true).ok());
    REQUIRE(enrol(b, true).ok());
    auto opened = KernelDirectPath::open(node.pins());
    REQUIRE(opened.ok());
    path = std::move(opened).value();
  }

  void say(bool allowed) {
    const weft::io::DirectVerdict verdict{a.netns.cookie, 0, allowed, kForEver};
    REQUIRE(path->publish(b.netns.cookie, {&verdict, 1}).ok());
  }
  /// All connections to the service go to this endpoint.
  void pick(const Endpoint& target) {
    const weft::io::ServicePicks only = {{target}};
    REQUIRE(path->publishServices({{kService4, only}, {kService6, only}}).ok());
  }
  std::vector<DirectEvent> events() {
    std::vector<DirectEvent> all;
    path->take([&](const DirectEvent& event) { all.push_back(event); });
    return all;
  }

  std::unique_ptr<KernelDirectPath> path;
};

const Endpoint& serviceAt(Spelling spelling) {
  return spelling == Spelling::kIpv6 ? kService6 : kService4;
}

/// One end says something, and the other hears all of it.
void exchange(const UniqueFd& from, const UniqueFd& to, std::string_view text) {
  REQUIRE(::send(from.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  waitReadable(to);
  std::string heard(text.size(), 0);
  REQUIRE(::recv(to.get(), heard.data(), heard.size(), MSG_WAITALL) ==
          static_cast<ssize_t>(text.size()));
  CHECK(heard == text);
}

/// What a refused connect() ends with: programs may choose since Linux 5.18.
int refusal() {
  const bool chosen =
      libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, nullptr) == 1;
  return chosen ? ECONNREFUSED : EPERM;
}

}  // namespace

TEST_CASE("an allowed connection goes to the application itself, and is told with its bytes") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  pods.say(true);
  const UniqueFd app = pods.b.listen(kApp);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint to = pods.b.at(spelling, kApp);
    Attempt client = connectFrom(pods.a.netns, spelling, to);
    REQUIRE(client.error == 0);
    const Accepted accepted = acceptFrom(app);
    CHECK(accepted.peer == nameOf(client.socket));
    CHECK(peerOf(client.socket) == to);
    CHECK(steps.take() == Steps{{"direct_allowed", 1}, {"direct_passed", 1}});

    exchange(client.socket, accepted.socket, "hello");
    exchange(accepted.socket, client.socket, "hi");
    weft::io::resetOnClose(client.socket.get());
    client.socket = UniqueFd();
    const std::vector<DirectEvent> events = pods.events();
    REQUIRE(events.size() == 2);
    CHECK(events[0].kind == DirectEvent::Kind::kOpened);
    CHECK(events[0].flow.server == to);
    CHECK(events[1].kind == DirectEvent::Kind::kClosed);
    CHECK(events[1].established);
    CHECK(events[1].flow.client == accepted.peer);
    CHECK(events[1].bytesSent == 5);
    CHECK(events[1].bytesReceived == 2);
    CHECK(pods.path->flowsOf(pods.a.netns.cookie).empty());
  }
}

TEST_CASE("a denied connection is refused at once, and told") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  pods.say(false);
  const UniqueFd app = pods.b.listen(kApp);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint to = pods.b.at(spelling, kApp);
    CHECK(connectFrom(pods.a.netns, spelling, to).error == refusal());
    CHECK(steps.take() == Steps{{"direct_denied", 1}});
    const std::vector<DirectEvent> events = pods.events();
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == DirectEvent::Kind::kDenied);
    CHECK(events[0].flow.server == to);
    CHECK(events[0].flow.source == pods.a.netns.cookie);
  }
  CHECK_FALSE(weft::test::hasConnection(app));
}

TEST_CASE("where there is no verdict the proxy is asked") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  const UniqueFd proxy = pods.a.listen(15001);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    REQUIRE(connectFrom(pods.a.netns, spelling, pods.b.at(spelling, kApp)).error == 0);
    CHECK(acceptFrom(proxy).peer.ip.isLoopback());
    CHECK(steps.take() == Steps{{"outbound_captured", 1}});
  }
}

TEST_CASE("a connection that is no longer allowed is ended at both ends") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  const UniqueFd app = pods.b.listen(kApp);
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    pods.say(true);
    const Attempt client = connectFrom(pods.a.netns, spelling, pods.b.at(spelling, kApp));
    REQUIRE(client.error == 0);
    const Accepted accepted = acceptFrom(app);
    pods.say(false);

    const std::vector<DirectFlow> flows = pods.path->flowsOf(pods.a.netns.cookie);
    REQUIRE(flows.size() == 1);
    CHECK(flows[0].destination == pods.b.netns.cookie);
    REQUIRE(pods.path->end(flows, pods.a.netns.fd.get()).ok());
    CHECK(errorOf(client.socket) == ECONNABORTED);
    waitReadable(accepted.socket);
    CHECK(errorOf(accepted.socket) == ECONNRESET);
  }
}

TEST_CASE(
    "a connection to a service goes to the pod that was picked, and seems to go to the service") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  pods.say(true);
  const UniqueFd app = pods.b.listen(kApp);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint to = pods.b.at(spelling, kApp);
    pods.pick(to);
    Attempt client = connectFrom(pods.a.netns, spelling, serviceAt(spelling));
    REQUIRE(client.error == 0);
    const Accepted accepted = acceptFrom(app);
    CHECK(accepted.peer == nameOf(client.socket));
    CHECK(nameOf(accepted.socket) == to);
    CHECK(peerOf(client.socket) == serviceAt(spelling));
    CHECK(steps.take() ==
          Steps{{"direct_allowed", 1}, {"direct_passed", 1}, {"service_picked", 1}});
    const std::vector<DirectFlow> flows = pods.path->flowsOf(pods.a.netns.cookie);
    REQUIRE(flows.size() == 1);
    CHECK(flows[0].server == to);
    CHECK(flows[0].asked == serviceAt(spelling));

    exchange(client.socket, accepted.socket, "hello");
    weft::io::resetOnClose(client.socket.get());
    client.socket = UniqueFd();
    const std::vector<DirectEvent> events = pods.events();
    REQUIRE(events.size() == 2);
    for (const DirectEvent& event : events) {
      CHECK(event.flow.server == to);
      CHECK(event.flow.asked == serviceAt(spelling));
    }
    CHECK(events[1].bytesSent == 5);
  }
}

TEST_CASE("a service whose pod denies is refused at once, and both are told") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  pods.say(false);
  CounterSteps steps(pods.node.agent());
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const Endpoint to = pods.b.at(spelling, kApp);
    pods.pick(to);
    CHECK(connectFrom(pods.a.netns, spelling, serviceAt(spelling)).error == refusal());
    CHECK(steps.take() == Steps{{"direct_denied", 1}, {"service_picked", 1}});
    const std::vector<DirectEvent> events = pods.events();
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == DirectEvent::Kind::kDenied);
    CHECK(events[0].flow.server == to);
    CHECK(events[0].flow.asked == serviceAt(spelling));
  }
}

TEST_CASE("what the kernel picks and does not lead to is told to the proxy") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  const UniqueFd proxy = pods.a.listen(15001);
  const auto capture = pods.node.proxy().of(pods.a.netns.fd.get());
  CounterSteps steps(pods.node.agent());
  const auto isTold = [&](Spelling spelling, const Endpoint& to) {
    pods.pick(to);
    const Attempt client = connectFrom(pods.a.netns, spelling, serviceAt(spelling));
    REQUIRE(client.error == 0);
    CHECK(peerOf(client.socket) == serviceAt(spelling));
    const Accepted accepted = acceptFrom(proxy);
    CHECK(capture->outboundDst(accepted.socket.get(), accepted.peer) ==
          weft::io::Origin{serviceAt(spelling), to});
    CHECK(steps.take() == Steps{{"outbound_captured", 1}, {"service_picked", 1}});
  };
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    const bool is6 = spelling == Spelling::kIpv6;
    INFO("without a verdict");
    isTold(spelling, pods.b.at(spelling, kApp));
    pods.say(true);
    INFO("elsewhere");
    isTold(spelling, {*Ip::parse("10.99.0.9"), kApp});
    INFO("of the other family");
    isTold(spelling, pods.b.at(is6 ? Spelling::kIpv4 : Spelling::kIpv6, kApp));
    INFO("a port of the proxy's");
    isTold(spelling, pods.b.at(spelling, 15006));
    INFO("the pod itself");
    isTold(spelling, pods.a.at(spelling, kApp));
    pods.path->withdraw(pods.b.netns.cookie);
  }
}

TEST_CASE(
    "nothing is picked where there is no table, for DNS, and for a pod that may not be direct") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  pods.say(true);
  const UniqueFd proxy = pods.a.listen(15001);
  const UniqueFd resolver = pods.a.listen(15053);
  CounterSteps steps(pods.node.agent());
  const Endpoint dns{kService4.ip, 53};
  const weft::io::ServicePicks only = {{pods.b.at(Spelling::kIpv4, kApp)}};
  REQUIRE(pods.path->publishServices({{kService4, only}, {dns, only}}).ok());
  REQUIRE(connectFrom(pods.a.netns, Spelling::kIpv4, {kService4.ip, 81}).error == 0);
  CHECK(steps.take() == Steps{{"outbound_captured", 1}});
  REQUIRE(connectFrom(pods.a.netns, Spelling::kIpv4, dns).error == 0);
  CHECK(steps.take() == Steps{{"dns_captured", 1}});
  REQUIRE(pods.enrol(pods.a, false).ok());
  REQUIRE(connectFrom(pods.a.netns, Spelling::kIpv4, kService4).error == 0);
  CHECK(steps.take() == Steps{{"outbound_captured", 1}});
}

TEST_CASE("a pod that refuses is told apart from a client that gives up") {
  if (!hasRoot()) {
    return;
  }
  DirectPods pods;
  pods.say(true);
  const auto isRefused = [&] {
    const std::vector<DirectEvent> events = pods.events();
    REQUIRE(events.size() == 1);
    CHECK(events[0].kind == DirectEvent::Kind::kClosed);
    CHECK_FALSE(events[0].established);
    return events[0].refused;
  };
  for (const Spelling spelling : kSpellings) {
    INFO(static_cast<int>(spelling));
    pods.pick(pods.b.at(spelling, kApp));
    CHECK(connectFrom(pods.a.netns, spelling, serviceAt(spelling)).error == ECONNREFUSED);
    CHECK(isRefused());
  }
  // One connection fills its queue, and no further SYN is answered.
  const UniqueFd app = pods.b.listen(kApp);
  REQUIRE(::listen(app.get(), 0) == 0);
  const Endpoint to = pods.b.at(Spelling::kIpv4, kApp);
  const Attempt waiting = connectFrom(pods.a.netns, Spelling::kIpv4, to);
  REQUIRE(waiting.error == 0);
  static_cast<void>(pods.events());
  REQUIRE(weft::io::connectTcp(pods.a.netns.fd.get(), to, std::nullopt, {}).ok());
  CHECK_FALSE(isRefused());
}
