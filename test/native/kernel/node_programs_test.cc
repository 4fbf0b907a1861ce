// SPDX-License-Identifier: Apache-2.0
// What capture can do without is taken from it, part by part, and given back. Needs root.
#include "kernel/node_programs.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernel/direct_path.h"
#include "kernel/two_pods.h"

using weft::Endpoint;
using weft::Ip;
using weft::UniqueFd;
using weft::kernel::KernelDirectPath;
using weft::kernel::NodeCapture;
using weft::kernel::NodeCaptureOptions;
using weft::kernel::Part;
using weft::kernel::PartStatus;
using weft::test::acceptFrom;
using weft::test::askFrom;
using weft::test::Attempt;
using weft::test::connectFrom;
using weft::test::CounterSteps;
using weft::test::hasRoot;
using weft::test::kSpellings;
using weft::test::nameOf;
using weft::test::receiveAt;
using weft::test::ScratchPod;
using weft::test::Spelling;
using weft::test::TwoPods;
using Steps = std::map<std::string, uint64_t>;

namespace {

constexpr uint16_t kOutbound = 15001;
constexpr uint16_t kDns = 15053;
constexpr uint16_t kApp = 8080;
constexpr uint64_t kForEver = std::numeric_limits<uint64_t>::max();
const Endpoint kService{*Ip::parse("10.96.0.1"), 80};

/// Two pods that policy lets connect, whose programs are replaced.
struct ChangingPods : TwoPods {
  /// As an agent that starts here, and its pods again.
  std::unique_ptr<NodeCapture> restart(const std::vector<Part>& without) {
    NodeCaptureOptions options = node.options();
    options.without = without;
    auto opened = NodeCapture::open(options);
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    std::unique_ptr<NodeCapture> agent = std::move(opened).value();
    for (const ScratchPod* pod : {&a, &b}) {
      REQUIRE(agent->enrol(pod->netns.fd.get(), pod->netns.cookie, pod->addresses, true).ok());
    }
    return agent;
  }

  /// From the one to the other, and to a service whose only endpoint that is.
  void allow() {
    auto opened = KernelDirectPath::open(node.pins());
    REQUIRE(opened.ok());
    path = std::move(opened).value();
    const weft::io::DirectVerdict verdict{a.netns.cookie, 0, true, kForEver};
    REQUIRE(path->publish(b.netns.cookie, {&verdict, 1}).ok());
    const weft::io::ServicePicks only = {{b.at(Spelling::kIpv4, kApp)}};
    REQUIRE(path->publishServices({{kService, only}}).ok());
  }

  /// Which ways a connection there is counted by.
  Steps connect(const NodeCapture& agent, const Endpoint& to) {
    CounterSteps steps(agent);
    CHECK(connectFrom(a.netns, Spelling::kIpv4, to).error == 0);
    return steps.take();
  }

  bool isAttached(const char* program) const {
    struct stat found {};
    return ::stat(node.pins().link(program).c_str(), &found) == 0;
  }

  const UniqueFd proxy = a.listen(kOutbound);
  const UniqueFd app = b.listen(kApp);
  std::unique_ptr<KernelDirectPath> path;
};

std::vector<std::string> lost(const std::vector<PartStatus>& parts) {
  std::vector<std::string> names;
  for (const PartStatus& each : parts) {
    if (!each.status.ok()) {
      names.emplace_back(weft::kernel::kPartNames[static_cast<size_t>(each.part)]);
    }
  }
  return names;
}

const Steps kCaptured{{"outbound_captured", 1}};
const Steps kDirect{{"direct_allowed", 1}, {"direct_passed", 1}};
const Steps kPicked{{"direct_allowed", 1}, {"direct_passed", 1}, {"service_picked", 1}};

}  // namespace

TEST_CASE("without direct connections all are captured, and with them again they are direct") {
  if (!hasRoot()) {
    return;
  }
  ChangingPods pods;
  pods.allow();
  const Endpoint to = pods.b.at(Spelling::kIpv4, kApp);
  for (int round = 0; round < 2; round++) {
    INFO(round);
    const auto full = pods.restart({});
    CHECK(lost(full->parts()).empty());
    CHECK(pods.connect(*full, to) == kDirect);
    CHECK(pods.connect(*full, kService) == kPicked);
    CHECK(pods.path->isOn(pods.a.netns.cookie));

    const auto less = pods.restart({Part::kDirect});
    CHECK(lost(less->parts()) == std::vector<std::string>{"direct", "services"});
    CHECK(pods.connect(*less, to) == kCaptured);
    CHECK(pods.connect(*less, kService) == kCaptured);
    CHECK_FALSE(pods.path->isOn(pods.a.netns.cookie));
  }
}

TEST_CASE("without services the proxy picks, and pods are connected directly all the same") {
  if (!hasRoot()) {
    return;
  }
  ChangingPods pods;
  pods.allow();
  const auto less = pods.restart({Part::kServices});
  CHECK(lost(less->parts()) == std::vector<std::string>{"services"});
  CHECK(pods.connect(*less, pods.b.at(Spelling::kIpv4, kApp)) == kDirect);
  CHECK(pods.connect(*less, kService) == kCaptured);
  const auto full = pods.restart({});
  CHECK(pods.connect(*full, kService) == kPicked);
}

TEST_CASE("without DNS questions go where they are sent, from connected sockets too") {
  if (!hasRoot()) {
    return;
  }
  ChangingPods pods;
  const UniqueFd node = receiveAt(pods.a.netns, kDns);
  const UniqueFd asked = receiveAt(pods.b.netns, 53);
  for (const std::vector<Part>& without : {std::vector<Part>{}, {Part::kDns}, {}}) {
    const auto agent = pods.restart(without);
    const bool isThere = without.empty();
    CHECK(pods.isAttached("weft_sendmsg4") == isThere);
    CHECK(pods.isAttached("weft_recvmsg6") == isThere);
    for (const Spelling spelling : kSpellings) {
      INFO(static_cast<int>(spelling), isThere);
      CounterSteps steps(*agent);
      const Endpoint to = pods.b.at(spelling, 53);
      const UniqueFd stray = askFrom(pods.a.netns, spelling, to, "who?");
      const UniqueFd& hears = isThere ? node : asked;
      weft::test::waitReadable(hears);
      char text[8];
      CHECK(::recv(hears.get(), text, sizeof text, MSG_DONTWAIT) == 4);
      CHECK(weft::test::connectAgain(stray, spelling, to) == 0);
      CHECK(steps.take() == (isThere ? Steps{{"dns_captured", 2}} : Steps{}));
    }
    CHECK(pods.connect(*agent, pods.b.at(Spelling::kIpv4, 80)) == kCaptured);
  }
}

TEST_CASE("without the own name a captured application is told the loopback's") {
  if (!hasRoot()) {
    return;
  }
  ChangingPods pods;
  for (const std::vector<Part>& without : {std::vector<Part>{}, {Part::kOwnName}, {}}) {
    const auto agent = pods.restart(without);
    for (const Spelling spelling : kSpellings) {
      INFO(static_cast<int>(spelling), without.size());
      const Attempt client = connectFrom(pods.a.netns, spelling, pods.b.at(spelling, 80));
      REQUIRE(client.error == 0);
      CHECK(nameOf(client.socket).ip.isLoopback() == !without.empty());
    }
  }
}
