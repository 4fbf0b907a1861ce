// SPDX-License-Identifier: Apache-2.0
// What a connection costs in the programs of the kernel, for each way that it can take. One line of
// JSON for each sample:
//   bench_hooks ROUNDS CONNECTIONS      makes them itself, on a node of its own
//   bench_hooks watch PINS SECONDS      looks at a node that others load
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hook_stats.h"
#include "kernel/direct_path.h"
#include "kernel/two_pods.h"

namespace {

using weft::Endpoint;
using weft::UniqueFd;
using weft::bench::between;
using weft::bench::HookStats;
using weft::bench::jsonOf;
using weft::bench::need;
using weft::bench::RunsByProgram;
using weft::kernel::KernelDirectPath;
using weft::test::Accepted;
using weft::test::acceptFrom;
using weft::test::Attempt;
using weft::test::connectFrom;
using weft::test::joinByCable;
using weft::test::Role;
using weft::test::ScratchPod;
using weft::test::Spelling;
using weft::test::TwoPods;

constexpr uint16_t kOutbound = 15001;
constexpr uint16_t kPlaintext = 15006;
constexpr uint16_t kHbone = 15008;
constexpr uint16_t kDns = 15053;
constexpr uint16_t kApp = 8080;
constexpr uint16_t kDenied = 8081;
constexpr uint16_t kService = 80;
constexpr uint64_t kForEver = std::numeric_limits<uint64_t>::max();

double nowMicros() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

void say(const UniqueFd& from, const UniqueFd& to) {
  char byte = 'x';
  need(::send(from.get(), &byte, 1, 0) == 1, "send");
  weft::test::waitReadable(to);
  need(::recv(to.get(), &byte, 1, 0) == 1, "receive");
}

/// A byte each way, and the end as both wish it.
void converse(Attempt client, Accepted server) {
  say(client.socket, server.socket);
  say(server.socket, client.socket);
  client.socket = UniqueFd();
  weft::test::waitReadable(server.socket);
  server.socket = UniqueFd();
}

/// Two pods that may connect, and a third with a stranger at the other end of its cable.
struct Node : TwoPods {
  ScratchPod third{weft::test::makeNetNamespace(),
                   {*weft::Ip::parse("10.98.0.1"), *weft::Ip::parse("fd98::1")}};
  ScratchPod stranger{weft::test::makeNetNamespace(),
                      {*weft::Ip::parse("10.98.0.2"), *weft::Ip::parse("fd98::2")}};
  std::unique_ptr<KernelDirectPath> path;
  std::shared_ptr<weft::io::Capture> capture;
  UniqueFd outbound, plaintext, tunnel, app, plain, resolver;

  Node() {
    joinByCable(third.netns, third.addresses, stranger.netns, stranger.addresses);
    need(enrol(a, true).ok() && enrol(b, true).ok() && enrol(third).ok(), "enrol three pods");
    path = KernelDirectPath::open(node.pins()).value();
    const weft::io::DirectVerdict verdicts[] = {{a.netns.cookie, kApp, true, kForEver},
                                                {a.netns.cookie, kDenied, false, kForEver}};
    need(path->publish(b.netns.cookie, verdicts).ok(), "publish verdicts");
    weft::io::ServiceTables services;
    for (const Spelling spelling : {Spelling::kIpv4, Spelling::kIpv6}) {
      services[serviceAt(spelling)] = {{b.at(spelling, kApp)}, {b.at(spelling, kApp)}};
    }
    need(path->publishServices(services).ok(), "publish services");
    capture = node.proxy().of(a.netns.fd.get());
    outbound = a.listen(kOutbound);
    plaintext = third.listen(kPlaintext);
    tunnel = third.listen(kHbone);
    const auto inbound = node.proxy().of(third.netns.fd.get());
    need(inbound->serve(plaintext.get(), kPlaintext).ok(), "serve plaintext");
    need(inbound->serve(tunnel.get(), kHbone).ok(), "serve tunnels");
    app = b.listen(kApp);
    plain = stranger.listen(kApp);
    resolver = weft::test::receiveAt(a.netns, kDns);
  }

  /// A service with two endpoints, which are one.
  static Endpoint serviceAt(Spelling spelling) {
    return {*weft::Ip::parse(spelling == Spelling::kIpv6 ? "fd96::10" : "10.96.0.10"), kService};
  }
  /// As a proxy takes it, and an application that looks at both names.
  void captured(Spelling spelling) {
    Attempt client = connectFrom(a.netns, spelling, b.at(spelling, 80));
    need(client.error == 0, "a captured connection");
    weft::test::peerOf(client.socket);
    weft::test::nameOf(client.socket);
    Accepted server = acceptFrom(outbound);
    need(capture->outboundDst(server.socket.get(), server.peer).has_value(), "an origin");
    converse(std::move(client), std::move(server));
  }
  void connectTo(const ScratchPod& from, Spelling spelling, const Endpoint& to,
                 const UniqueFd& listener) {
    Attempt client = connectFrom(from.netns, spelling, to);
    errno = client.error;
    need(client.error == 0, "a connection");
    converse(std::move(client), acceptFrom(listener));
  }
  void denied(Spelling spelling) {
    const Attempt refused = connectFrom(a.netns, spelling, b.at(spelling, kDenied));
    need(refused.error == ECONNREFUSED, "a denied connection");
  }
  void asked(Spelling spelling) {
    const UniqueFd client = weft::test::askFrom(a.netns, spelling, b.at(spelling, 53), "?");
    weft::test::waitReadable(resolver);
    char byte = 0;
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    need(::recvfrom(resolver.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &size) == 1,
         "a question");
    need(::sendto(resolver.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), size) == 1,
         "an answer");
    weft::test::waitReadable(client);
    // With an address to be told, as resolvers' libraries do.
    size = sizeof from;
    need(::recvfrom(client.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &size) == 1,
         "an answer that is heard");
  }
};

/// One way that a connection can take.
struct Way {
  const char* name;
  Role role;
  std::function<void(Node&, Spelling)> once;
};

const std::vector<Way>& ways() {
  static const std::vector<Way> all = {
      {"captured", Role::kApplication, [](Node& node, Spelling at) { node.captured(at); }},
      {"direct", Role::kApplication,
       [](Node& node, Spelling at) { node.connectTo(node.a, at, node.b.at(at, kApp), node.app); }},
      {"direct, by a service", Role::kApplication,
       [](Node& node, Spelling at) { node.connectTo(node.a, at, Node::serviceAt(at), node.app); }},
      {"denied", Role::kApplication,
       [](Node& node, Spelling at) {
         node.denied(at);
         node.path->take([](const weft::io::DirectEvent&) {});
       }},
      {"denied while events wait", Role::kApplication,
       [](Node& node, Spelling at) { node.denied(at); }},
      {"plaintext from outside", Role::kApplication,
       [](Node& node, Spelling at) {
         node.connectTo(node.stranger, at, node.third.at(at, kApp), node.plaintext);
       }},
      {"tunnel from outside", Role::kApplication,
       [](Node& node, Spelling at) {
         node.connectTo(node.stranger, at, node.third.at(at, kHbone), node.tunnel);
       }},
      {"proxy to application", Role::kProxy,
       [](Node& node, Spelling at) { node.connectTo(node.b, at, node.b.at(at, kApp), node.app); }},
      {"question by UDP", Role::kApplication, [](Node& node, Spelling at) { node.asked(at); }},
      {"no pod", Role::kApplication,
       [](Node& node, Spelling at) {
         node.connectTo(node.stranger, at, node.stranger.at(at, kApp), node.plain);
       }},
  };
  return all;
}

void measure(int rounds, int connections) {
  Node node;
  HookStats stats;
  stats.follow(node.node.pins());
  // The first round fills caches and tables, and is not told.
  for (int round = -1; round < rounds; round++) {
    for (const Way& way : ways()) {
      node.node.be(way.role);
      for (const Spelling spelling : {Spelling::kIpv4, Spelling::kIpv6}) {
        node.node.proxy().beat();
        const RunsByProgram before = stats.read();
        const double start = nowMicros();
        for (int i = 0; i < connections; i++) {
          way.once(node, spelling);
        }
        const double micros = nowMicros() - start;
        node.path->take([](const weft::io::DirectEvent&) {});
        if (round >= 0) {
          std::printf("{\"way\": \"%s\", \"family\": \"%s\", \"connections\": %d, ", way.name,
                      spelling == Spelling::kIpv4 ? "IPv4" : "IPv6", connections);
          std::printf("\"micros\": %.0f, \"clockNs\": %.1f, \"programs\": %s}\n", micros,
                      HookStats::clockNs(), jsonOf(between(before, stats.read())).c_str());
        }
      }
    }
  }
}

void watch(const char* pins, unsigned seconds) {
  HookStats stats;
  stats.follow(weft::kernel::Pins(pins));
  const RunsByProgram before = stats.read();
  ::sleep(seconds);
  const std::string programs = jsonOf(between(before, stats.read()));
  std::printf("{\"clockNs\": %.1f, \"programs\": %s}\n", HookStats::clockNs(), programs.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "watch") {
    watch(argv[2], static_cast<unsigned>(std::atoi(argv[3])));
    return 0;
  }
  if (argc != 3) {
    std::fprintf(stderr, "bench_hooks ROUNDS CONNECTIONS, or bench_hooks watch PINS SECONDS\n");
    return 2;
  }
  measure(std::atoi(argv[1]), std::atoi(argv[2]));
  return 0;
}
