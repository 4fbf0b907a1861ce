// SPDX-License-Identifier: Apache-2.0
// What is told to the kernel of connections between pods of a node, with a stand-in for the kernel:
// its own part is tested live, in test/integration/kernel. Needs root, for network namespaces.
// Long, since its cases share two pods and what the kernel was told of them.
// clang-format off
#include "proxy/direct_paths.h"

#include "proxy/direct_kernel.h"
#include "proxy/one_pod.h"

#include <doctest/doctest.h>
// clang-format on

#include <tuple>

using namespace weft::test;
using weft::Endpoint;
using weft::Ip;
using weft::UniqueFd;
using weft::io::DirectEvent;
using weft::io::DirectFlow;
using weft::io::DirectVerdict;
using weft::proxy::DirectPaths;
using weft::proxy::PolicyMatch;
using weft::proxy::Service;
using weft::proxy::Tables;
using State = DirectKernel::State;

namespace {

constexpr const char* kCart4 = "10.1.1.1";
constexpr const char* kWeb4 = "10.1.1.2";
constexpr const char* kCart6 = "fd00::1";
constexpr const char* kWeb6 = "fd00::2";
constexpr uint64_t kNsPerSecond = 1'000'000'000;

Policy denyPort(uint16_t port) {
  Policy made = policy("port", PolicyAction::kDeny);
  PolicyMatch match;
  match.destinationPorts = {port};
  made.rules[0].clauses.push_back({{match}});
  return made;
}

Policy denySource(const char* ip) {
  Policy made = policy("source", PolicyAction::kDeny);
  PolicyMatch match;
  const Ip parsed = *Ip::parse(ip);
  match.sourceIps = {{parsed, static_cast<uint8_t>(parsed.isV4() ? 32 : 128)}};
  made.rules[0].clauses.push_back({{match}});
  return made;
}

/// The pods "cart" and "web" of one node, and who connects them.
class Node {
 public:
  using Told = std::tuple<DirectEvent::Kind, std::string, std::string>;

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
        web(weft::io::netnsCookie(webNs.fd().get()).value()) {
    start();
  }

  void start(DirectPaths::Options options = {}) {
    paths = std::make_unique<DirectPaths>(
        captures_,
        [this](const std::vector<DirectPaths::Told>& all) {
          for (const auto& [event, from, to] : all) {
            kernel.change([&](State&) { told_.emplace_back(event.kind, from, to); });
          }
        },
        options);
  }
  /// Both with all that they need, and both published.
  void startAll() {
    addPods();
    identify(kCart, 2);
    identify(kWeb, 1);
    apply(addWorkloads(DeltaWriter()).policiesReceived());
    need(untilSwept(2) && kernel.now().tables.size() == 2);
  }
  void addPods() {
    addCart();
    addWeb();
    paths->podIsOpen("web");
  }
  void addCart() {
    paths->addPod({"cart", kCartUid, kCart}, dup(cartNs));
    paths->podIsOpen("cart");
  }
  /// Not open yet.
  void addWeb() { paths->addPod({"web", "Kubernetes//Pod/shop/web", kWeb}, dup(webNs)); }
  static DeltaWriter& addWorkloads(DeltaWriter&& to) {
    return to.add(workload("cart", kCart4)).add(workload("web", kWeb4));
  }
  static DeltaWriter& addDualWorkloads(DeltaWriter&& to) {
    Workload cart = workload("cart", kCart4);
    cart.addresses.push_back(*Ip::parse(kCart6));
    Workload web = workload("web", kWeb4);
    web.addresses.push_back(*Ip::parse(kWeb6));
    return to.add(cart).add(web);
  }
  void apply(const DeltaWriter& delta) {
    tables_ = delta.applyTo(tables_).value();
    paths->setTables(tables_);
  }
  /// A certificate for so many hours.
  std::shared_ptr<const weft::tls::Identity> identify(const char* id, int hours) {
    CertificateRecipe recipe;
    recipe.notBefore = weft::unixSeconds() - kHour;
    recipe.notAfter = weft::unixSeconds() + hours * kHour;
    auto made = ca_.identity(id, recipe);
    paths->setIdentity(made);
    return made;
  }
  void deny(const std::vector<std::string>& ids, const std::vector<std::string>& serials = {}) {
    paths->setDenyList(std::make_shared<weft::tls::DenyList>(++epoch_, ids, serials));
  }
  DirectFlow flow(uint16_t clientPort, uint16_t port) const {
    return {web, cart, {*Ip::parse(kWeb4), clientPort}, {*Ip::parse(kCart4), port}};
  }
  bool untilTold(const std::vector<Told>& all) {
    return kernel.until([&](const State&) { return told_ == all; });
  }
  /// Until the connections of both pods were looked at so often: twice for each change.
  bool untilSwept(int times) {
    return kernel.until([&](const State& now) { return now.sweeps >= 2 * times; });
  }

  const NetworkNamespace cartNs;
  const NetworkNamespace webNs;
  const uint64_t cart;
  const uint64_t web;
  DirectKernel kernel;
  std::unique_ptr<DirectPaths> paths;

 private:
  static UniqueFd dup(const NetworkNamespace& ns) {
    return UniqueFd(::fcntl(ns.fd().get(), F_DUPFD_CLOEXEC, 0));
  }

  DirectCaptures captures_{kernel};
  TestCa ca_;
  uint64_t epoch_ = 0;
  std::shared_ptr<const Tables> tables_ = Tables::empty();
  std::vector<Told> told_;  // guarded by the kernel's mutex
  // The last to come and the first to go.
  struct Joins {
    Node& node;
    ~Joins() { node.paths.reset(); }
  } joins_{*this};
};

/// Whether connections from `source` are decided by one row, and how.
bool says(const State& now, uint64_t destination, uint64_t source, bool allowed) {
  const auto found = now.tables.find(destination);
  return found != now.tables.end() && found->second.size() == 1 &&
         found->second[0].source == source && found->second[0].port == 0 &&
         found->second[0].allowed == allowed;
}

/// A service at 10.96.0.1:80 with "cart" as its endpoint here, and one elsewhere.
DeltaWriter& addService(DeltaWriter&& to) {
  Service service;
  service.key = "shop/store";
  service.namespaceName = "shop";
  service.addresses = {weft::proxy::vip("10.96.0.1")};
  Workload cart = workload("cart", kCart4);
  cart.services = {{service.key, {{80, 8080}}}};
  Workload other = workload("other", "10.1.2.1");
  other.services = cart.services;
  return to.add(cart).add(other).add(service);
}

/// How many endpoints there are to pick from.
bool picksFrom(const State& now, size_t count) {
  const auto found = now.services.find({*Ip::parse("10.96.0.1"), 80});
  return found == now.services.end() ? count == 0 : found->second.size() == count;
}

uint16_t clientPort(const DirectKernel::Ended& ended) {
  return ended.flow.client.port;
}

}  // namespace

TEST_CASE("verdicts are published when pods, certificates and policy are there, not before") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  DirectKernel& kernel = node->kernel;
  node->addPods();
  node->identify(kCart, 2);
  node->identify(kWeb, 1);
  node->apply(Node::addWorkloads(DeltaWriter()));
  CHECK(kernel.isQuiet());
  CHECK(kernel.now().openings == 0);
  node->apply(DeltaWriter().policiesReceived());
  CHECK(kernel.until([&](const State& now) {
    return says(now, node->cart, node->web, true) && says(now, node->web, node->cart, true);
  }));
  CHECK(kernel.now().openings == 1);
  // The certificate of web is the first to expire.
  const uint64_t in = weft::monotonicMicros() * 1000 + kHour * kNsPerSecond;
  for (const uint64_t each : {node->cart, node->web}) {
    const uint64_t expires = kernel.now().tables.at(each).at(0).expiresNs;
    CHECK(expires <= in + kNsPerSecond);
    CHECK(expires >= in - 60 * kNsPerSecond);
  }
  node->identify(kWeb, 3);
  CHECK(kernel.until([&](const State& now) {
    const auto found = now.tables.find(node->cart);
    return found->second.at(0).expiresNs > in + kHour / 2 * kNsPerSecond;
  }));
}

TEST_CASE("without a certificate, or with one that has expired, nothing is decided") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  SUBCASE("expired") {
    node->identify(kWeb, 0);
  }
  SUBCASE("removed") {
    node->paths->removeIdentity(kWeb);
  }
  CHECK(node->kernel.until([&](const State& now) { return now.tables.empty(); }));
}

TEST_CASE("only what changed is published anew") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  node->apply(DeltaWriter().add(workload("other", "10.1.1.9")));
  CHECK(kernel.settles());
  CHECK(kernel.now().published.at(node->cart) == 1);
  CHECK(kernel.now().published.at(node->web) == 1);
  Policy denial = policy("web", PolicyAction::kDeny, kWeb);
  node->apply(DeltaWriter().add(denial));
  CHECK(kernel.until([&](const State& now) { return says(now, node->cart, node->web, false); }));
  CHECK(kernel.settles());
  const State now = kernel.now();
  CHECK(says(now, node->web, node->cart, true));
  CHECK(now.published.at(node->cart) == 2);
  CHECK(now.published.at(node->web) == 1);
  CHECK(now.withdrawn.empty());
}

TEST_CASE("verdicts of a pod that goes are withdrawn, and those about it are gone") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  node->paths->removePod("web");
  CHECK(node->kernel.until([&](const State& now) { return now.tables.empty(); }));
  CHECK(node->kernel.now().withdrawn.at(node->web) == 1);
  node->addPods();
  CHECK(node->kernel.until([&](const State& now) {
    return says(now, node->cart, node->web, true) && says(now, node->web, node->cart, true);
  }));
}

TEST_CASE("who is on the deny list has no verdicts, and no connection stays open") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  const auto renewed = node->identify(kWeb, 1);
  kernel.change([&](State& state) { state.flows = {node->flow(40001, 80)}; });
  SUBCASE("by name") {
    node->deny({"SPIFFE://Cluster.Local/ns/shop/sa/web"});
  }
  SUBCASE("by its certificate") {
    node->deny({}, {renewed->serial()});
  }
  SUBCASE("as the destination") {
    node->deny({kCart});
  }
  CHECK(kernel.until([&](const State& now) { return now.tables.empty() && now.flows.empty(); }));
  node->deny({});
  CHECK(kernel.until([&](const State& now) {
    return says(now, node->cart, node->web, true) && says(now, node->web, node->cart, true);
  }));
}

TEST_CASE("a pod without a certificate loses its connections too when it is denied") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  kernel.change([&](State& state) { state.flows = {node->flow(40001, 80)}; });
  node->paths->removeIdentity(kWeb);
  CHECK(node->untilSwept(4));
  CHECK(kernel.now().tables.empty());
  CHECK(kernel.now().ended.empty());
  node->deny({kWeb});
  CHECK(kernel.until([&](const State& now) { return now.ended.size() == 1; }));
}

TEST_CASE("connections of a pod that may have none any more are ended, once that is told") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  kernel.change([&](State& state) {
    state.flows = {node->flow(40001, 80), node->flow(40002, 81)};
    state.accepted = {node->flow(40001, 80)};
  });
  node->paths->changed();
  CHECK(node->untilSwept(4));
  CHECK(kernel.now().flows.size() == 2);
  SUBCASE("as the source") {
    kernel.change([&](State& state) { state.off = {node->web}; });
  }
  SUBCASE("as the destination") {
    kernel.change([&](State& state) { state.off = {node->cart}; });
  }
  node->paths->changed();
  CHECK(kernel.until([](const State& now) { return now.flows.empty() && now.accepted.empty(); }));
}

TEST_CASE("connections that are denied now are ended, then those that were half open, no others") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  const DirectFlow back{
      node->cart, node->web, {*Ip::parse(kCart4), 40004}, {*Ip::parse(kWeb4), 81}};
  kernel.change([&](State& state) {
    state.flows = {node->flow(40001, 80), node->flow(40002, 81), node->flow(40003, 80), back};
    state.late = {node->flow(40005, 80), node->flow(40006, 81)};
    state.accepted = {node->flow(40001, 80), node->flow(40002, 81), back};
  });
  node->apply(DeltaWriter().add(denyPort(80)));
  CHECK(kernel.until([&](const State& now) { return now.ended.size() == 3; }));
  CHECK(kernel.settles());
  const State now = kernel.now();
  REQUIRE(now.ended.size() == 3);
  CHECK(clientPort(now.ended[0]) == 40001);
  CHECK(clientPort(now.ended[1]) == 40003);
  CHECK(clientPort(now.ended[2]) == 40005);
  for (const DirectKernel::Ended& each : now.ended) {
    CHECK(each.netns == node->web);
  }
  CHECK(now.ended[2].atMs - now.ended[0].atMs >= 200);
  CHECK(now.flows.size() == 3);
  CHECK(now.accepted.size() == 2);
}

TEST_CASE("the accepting end is ended too where the client keeps its own to itself") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  kernel.change([&](State& state) { state.accepted = {node->flow(40001, 80)}; });
  SUBCASE("when a verdict turns") {
    node->apply(DeltaWriter().add(denyPort(80)));
  }
  SUBCASE("when the client is denied") {
    node->deny({kWeb});
  }
  SUBCASE("when the client is denied, and had no certificate before") {
    node->paths->removeIdentity(kWeb);
    CHECK(node->untilSwept(4));
    CHECK(kernel.now().accepted.size() == 1);
    node->deny({kWeb});
  }
  SUBCASE("when policy turns where all is left to the proxy") {
    node->apply(Node::addDualWorkloads(DeltaWriter()).add(denySource(kWeb6)));
    CHECK(node->untilSwept(4));
    CHECK(kernel.now().accepted.size() == 1);
    node->apply(DeltaWriter().add(denySource(kWeb4)));
  }
  SUBCASE("when the client's pod goes, which still has it") {
    kernel.change([&](State& state) { state.flows = state.accepted; });
    node->paths->removePod("web");
  }
  CHECK(kernel.until([](const State& now) { return now.accepted.empty(); }));
}

TEST_CASE("connections are judged anew by a policy that no verdict shows") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  // Addresses differ, so that all is left to the proxy before and after.
  node->apply(Node::addDualWorkloads(DeltaWriter()).add(denySource(kWeb6)));
  kernel.change([&](State& state) { state.flows = {node->flow(40001, 80)}; });
  CHECK(node->untilSwept(4));
  CHECK_FALSE(kernel.now().tables.contains(node->cart));
  CHECK(kernel.now().ended.empty());
  node->apply(DeltaWriter().add(denySource(kWeb4)));
  CHECK(kernel.until([&](const State& now) { return now.ended.size() == 1; }));
}

TEST_CASE("connections end that lead elsewhere now") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  node->kernel.change([&](State& state) { state.flows = {node->flow(40001, 80)}; });
  Workload cart = workload("cart", kCart4);
  Workload web = workload("web", kWeb4);
  SUBCASE("to a waypoint") {
    cart.waypoint = true;
  }
  SUBCASE("to a pod that is no longer enrolled") {
    cart.hbone = false;
  }
  SUBCASE("to another address") {
    cart.addresses = {*Ip::parse("10.1.1.9")};
  }
  SUBCASE("to another identity") {
    cart.serviceAccount = "other";
  }
  SUBCASE("from another identity") {
    web.serviceAccount = "other";
  }
  SUBCASE("to a pod that is not known") {
    cart.uid = "another";
    node->apply(DeltaWriter().removeWorkload(kCartUid));
  }
  node->apply(DeltaWriter().add(web).add(cart));
  CHECK(node->kernel.until([&](const State& now) { return now.ended.size() == 1; }));
}

TEST_CASE("connections of a pod that was removed are ended") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  node->kernel.change([&](State& state) { state.flows = {node->flow(40001, 80)}; });
  node->paths->removePod("web");
  CHECK(node->kernel.until([&](const State& now) { return now.ended.size() == 1; }));
  CHECK_FALSE(node->kernel.now().ended.front().decided);  // it could have opened another one
}

TEST_CASE("where none are allowed, what the kernel was told before is withdrawn, and all end") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  node->paths.reset();
  kernel.change([&](State& state) { state.flows = {node->flow(40001, 80)}; });
  node->start({.waits = false, .allowed = false});
  node->addPods();
  node->identify(kCart, 2);
  node->identify(kWeb, 1);
  node->apply(Node::addWorkloads(DeltaWriter()).policiesReceived());
  CHECK(
      kernel.until([&](const State& now) { return now.tables.empty() && now.ended.size() == 1; }));
  const Endpoint pod{*Ip::parse(kCart4), 8080};
  CHECK(node->paths->decides("Kubernetes//Pod/shop/web", pod, {{kCartUid, pod}}) ==
        std::vector<bool>{false});
}

TEST_CASE("what finds no room in the kernel is left to the proxy, and tried again") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  DirectKernel& kernel = node->kernel;
  kernel.change([](State& state) { state.full = true; });
  node->addPods();
  node->identify(kCart, 2);
  node->identify(kWeb, 1);
  node->apply(Node::addWorkloads(DeltaWriter()).policiesReceived());
  CHECK(node->untilSwept(1));
  const Endpoint pod{*Ip::parse(kCart4), 8080};
  const auto isDirect = [&]() -> bool {
    return node->paths->decides("Kubernetes//Pod/shop/web", pod, {{kCartUid, pod}}).front();
  };
  CHECK_FALSE(isDirect());
  kernel.change([](State& state) { state.full = false; });
  node->apply(DeltaWriter().add(denyPort(81)));
  CHECK(kernel.until([](const State& now) { return now.tables.size() == 2; }));
  CHECK(isDirect());
}

TEST_CASE("events are told with the uids of both pods, and without one of a pod that is gone") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  using Kind = DirectEvent::Kind;
  DirectKernel& kernel = node->kernel;
  // Before anybody listens.
  kernel.tell({Kind::kDenied, node->flow(0, 80)});
  node->startAll();
  CHECK(node->untilTold({{Kind::kDenied, "web", "cart"}}));
  kernel.tell({Kind::kOpened, node->flow(40001, 80)});
  CHECK(node->untilTold({{Kind::kDenied, "web", "cart"}, {Kind::kOpened, "web", "cart"}}));
  node->paths->removePod("cart");
  CHECK(kernel.until([&](const State& now) { return now.tables.empty(); }));
  kernel.tell({Kind::kClosed, node->flow(40001, 80)});
  CHECK(node->untilTold({{Kind::kDenied, "web", "cart"},
                         {Kind::kOpened, "web", "cart"},
                         {Kind::kClosed, "web", ""}}));
}

TEST_CASE("events of pods that are still to come are told when these are open, in order") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  using Kind = DirectEvent::Kind;
  DirectKernel& kernel = node->kernel;
  // While there was no proxy.
  kernel.tell({Kind::kOpened, node->flow(40001, 80)});
  kernel.tell({Kind::kClosed, node->flow(40001, 80)});
  node->addCart();
  node->identify(kCart, 2);
  node->identify(kWeb, 1);
  node->apply(Node::addWorkloads(DeltaWriter()).policiesReceived());
  CHECK(kernel.until([](const State& now) { return now.events.empty(); }));
  kernel.tell({Kind::kDenied, node->flow(0, 81)});
  node->addWeb();
  CHECK(kernel.until([](const State& now) { return now.events.empty(); }));
  CHECK(node->untilSwept(1));
  CHECK(node->untilTold({}));
  node->paths->podIsOpen("web");
  CHECK(node->untilTold({{Kind::kOpened, "web", "cart"},
                         {Kind::kClosed, "web", "cart"},
                         {Kind::kDenied, "web", "cart"}}));
}

TEST_CASE("what is published stays at the end, until a successor knows the policy") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  DirectKernel& kernel = node->kernel;
  node->paths.reset();
  CHECK(kernel.now().tables.size() == 2);
  CHECK(kernel.now().withdrawn.empty());

  node->start();
  node->addPods();
  CHECK(kernel.isQuiet());
  CHECK(kernel.now().tables.size() == 2);
  kernel.change([&](State& state) { state.flows = {node->flow(40001, 80)}; });
  node->identify(kCart, 2);
  // Not one of web: whatever was decided for it holds no longer.
  node->apply(DeltaWriter().add(denyPort(80)));
  CHECK(
      kernel.until([&](const State& now) { return now.tables.empty() && now.ended.size() == 1; }));
}

TEST_CASE("while it rests the kernel is another's, and told all when it begins again") {
  auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  node->paths->rest();
  node->apply(DeltaWriter().add(denyPort(8080)));
  node->kernel.tell({});
  CHECK(node->kernel.isQuiet());
  CHECK(node->kernel.now().events.size() == 1);
  // Another's verdict, and a connection that opened by it.
  node->kernel.change([&](State& state) {
    state.tables.erase(node->cart);
    state.flows = {node->flow(40001, 8080)};
  });
  node->paths->begin();
  CHECK(node->kernel.until([&](const State& state) {
    return state.tables.contains(node->cart) && state.ended.size() == 1 && state.events.empty();
  }));
  node->paths->rest();
  node->paths->rest();
}

TEST_CASE("nothing is told while nothing captures in the kernel, and all as soon as it does") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  DirectKernel& kernel = node->kernel;
  kernel.change([](State& state) { state.captures = false; });
  node->addPods();
  node->identify(kCart, 2);
  node->identify(kWeb, 1);
  node->apply(Node::addWorkloads(DeltaWriter()).policiesReceived());
  CHECK(kernel.isQuiet());
  kernel.change([](State& state) { state.captures = true; });
  node->apply(DeltaWriter().add(workload("other", "10.1.1.9")));
  CHECK(kernel.until([&](const State& now) { return now.tables.size() == 2; }));
}

TEST_CASE(
    "services are picked from that have an endpoint on the node, as long as it may be direct") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  DirectKernel& kernel = node->kernel;
  node->startAll();
  CHECK(kernel.now().services.empty());
  node->apply(addService(DeltaWriter()));
  CHECK(kernel.until([](const State& now) { return picksFrom(now, 2); }));
  size_t left = 0;
  SUBCASE("the endpoint elsewhere goes") {
    node->apply(DeltaWriter().removeWorkload("Kubernetes//Pod/shop/other"));
    left = 1;
  }
  SUBCASE("its pod goes") {
    node->paths->removePod("cart");
  }
  SUBCASE("its certificate goes") {
    node->paths->removeIdentity(kCart);
  }
  SUBCASE("it is denied") {
    node->deny({kCart});
  }
  SUBCASE("the kernel says no for its pod") {
    kernel.change([&](State& state) { state.off = {node->cart}; });
    node->apply(DeltaWriter().add(workload("third", "10.1.1.9")));
  }
  CHECK(kernel.until([&](const State& now) { return picksFrom(now, left); }));
}

TEST_CASE("an endpoint that fails is not picked for a while") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  using Kind = DirectEvent::Kind;
  DirectKernel& kernel = node->kernel;
  node->startAll();
  node->apply(addService(DeltaWriter()));
  CHECK(kernel.until([](const State& now) { return picksFrom(now, 2); }));
  DirectEvent failed{Kind::kClosed, node->flow(40001, 8080)};
  // Asked for itself, it is no matter of the service.
  failed.flow.asked = failed.flow.server;
  failed.refused = true;
  const auto tellOften = [&] {
    for (uint32_t i = 0; i < weft::proxy::kEjectFailures; i++) {
      kernel.tell(failed);
    }
  };
  tellOften();
  failed.flow.asked = {*Ip::parse("10.96.0.1"), 80};
  failed.refused = false;  // who asked gave up
  tellOften();
  CHECK(kernel.isQuiet());
  CHECK(picksFrom(kernel.now(), 2));
  failed.refused = true;
  const uint64_t begunMs = weft::monotonicMillis();
  tellOften();
  CHECK(kernel.until([](const State& now) { return picksFrom(now, 0); }));
  SUBCASE("until the time is over") {
    CHECK(kernel.until([](const State& now) { return picksFrom(now, 2); }));
    CHECK(weft::monotonicMillis() - begunMs >= weft::proxy::kEjectMs);
  }
  SUBCASE("or one connects") {
    DirectEvent opened{Kind::kOpened, failed.flow};
    kernel.tell(opened);
    CHECK(kernel.until([](const State& now) { return picksFrom(now, 2); }));
    CHECK(weft::monotonicMillis() - begunMs < weft::proxy::kEjectMs);
  }
}

TEST_CASE("connections end that were to a service which has a waypoint now, and no others") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  DirectKernel& kernel = node->kernel;
  node->startAll();
  node->apply(addService(DeltaWriter()));
  DirectFlow toService = node->flow(40001, 8080);
  toService.asked = {*Ip::parse("10.96.0.1"), 80};
  DirectFlow toPod = node->flow(40002, 8080);
  toPod.asked = toPod.server;
  kernel.change([&](State& state) { state.flows = {toService, toPod}; });
  Service service;
  service.key = "shop/store";
  service.namespaceName = "shop";
  service.addresses = {weft::proxy::vip("10.96.0.1")};
  service.waypoint = true;
  node->apply(DeltaWriter().add(service));
  CHECK(kernel.until([](const State& now) { return now.ended.size() == 1; }));
  CHECK(kernel.settles());
  CHECK(clientPort(kernel.now().ended.at(0)) == 40001);
  CHECK(kernel.now().ended.size() == 1);
}

TEST_CASE("it is told which connections the kernel decides") {
  const auto node = Node::make();
  if (!node) {
    return;
  }
  node->startAll();
  node->apply(addService(DeltaWriter()).add(denyPort(8081)));
  CHECK(node->kernel.until([](const State& now) { return picksFrom(now, 2); }));
  const Endpoint vip{*Ip::parse("10.96.0.1"), 80};
  const Endpoint pod{*Ip::parse(kCart4), 8080};
  const std::string web = "Kubernetes//Pod/shop/web";
  using Ends = std::vector<DirectPaths::End>;
  const Ends both = {{kCartUid, pod},
                     {"Kubernetes//Pod/shop/other", {*Ip::parse("10.1.2.1"), 8080}}};
  CHECK(node->paths->decides(web, vip, both) == std::vector<bool>{true, false});
  CHECK(node->paths->decides(web, pod, {both[0]}) == std::vector<bool>{true});
  const Endpoint other{vip.ip, 81};
  CHECK(node->paths->decides(web, other, {both[0]}) == std::vector<bool>{false});
  CHECK(node->paths->decides("nobody", vip, both) == std::vector<bool>{false, false});
  CHECK(node->paths->decides(web, vip, {{kCartUid, {*Ip::parse(kCart6), 8080}}}) ==
        std::vector<bool>{false});
  const Endpoint tunnel{pod.ip, 15008};
  CHECK(node->paths->decides(web, tunnel, {{kCartUid, tunnel}}) == std::vector<bool>{false});
}
