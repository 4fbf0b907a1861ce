// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "proxy/listener.h"

#include <doctest/doctest.h>
// clang-format on

#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>

using weft::Endpoint;
using weft::UniqueFd;
using weft::io::Loop;
using weft::io::Timer;
using weft::proxy::Listener;
using weft::proxy::Pod;

namespace {

/// A pod without listeners of its own, on a loop that the test runs.
struct BarePod {
  BarePod() {
    auto budget = std::make_shared<weft::proxy::PodBudget>(
        settings.limits, std::make_shared<weft::proxy::SharedSum>(1 << 20));
    auto opened =
        Pod::open(worker, {}, {}, {budget, std::make_shared<weft::proxy::Spread>(1, 2), nullptr});
    REQUIRE(opened.ok());
    pod = std::move(opened).value();
  }
  ~BarePod() { pod->close(weft::proxy::Reason::kNone, ""); }

  Loop loop;
  weft::proxy::Settings settings;
  weft::CounterTable counters{1};
  weft::proxy::EventQueue queue{[] {}, 1 << 20};
  weft::io::NetfilterCaptures captures;
  weft::proxy::WorkerState worker{0, loop, settings, counters.row(0), queue, captures, 1};
  std::unique_ptr<Pod> pod;
};

UniqueFd newSocket(int flags) {
  return UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

}  // namespace

TEST_CASE("a listener that cannot accept asks now and then, and takes what comes when it can") {
  BarePod bare;
  UniqueFd fd = newSocket(SOCK_NONBLOCK);  // does not listen, so that accept() fails with EINVAL
  const int listening = fd.get();
  UniqueFd client;
  size_t accepted = 0;
  bare.pod
      ->adopt(std::make_unique<Listener>(*bare.pod, std::move(fd),
                                         [&](UniqueFd, const Endpoint&) {
                                           accepted++;
                                           bare.loop.stop();
                                         }))
      ->accept();
  uint64_t turns = 0;
  Timer mend;
  mend.start(bare.loop, 200, [&] {
    turns = bare.loop.turns();
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    auto* generic = reinterpret_cast<sockaddr*>(&at);
    CHECK(::bind(listening, generic, length) == 0);
    CHECK(::listen(listening, 1) == 0);
    CHECK(::getsockname(listening, generic, &length) == 0);
    client = newSocket(0);
    CHECK(::connect(client.get(), generic, length) == 0);
  });
  Timer giveUp;
  giveUp.start(bare.loop, 10000, [&] { bare.loop.stop(); });
  bare.loop.run();
  CHECK(accepted == 1);
  CHECK(turns >= 3);
  CHECK(turns < 20);
}
