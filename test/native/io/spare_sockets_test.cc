// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "io/spare_sockets.h"

#include <doctest/doctest.h>
// clang-format on

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

using weft::io::congestionOf;
using weft::io::SpareSockets;

TEST_CASE("sockets are made in batches that double in a burst and start anew after it") {
  SpareSockets sockets(-1, AF_INET, {0, "reno", false});
  uint64_t nowMs = 1000;
  CHECK(sockets.take(nowMs).ok());
  CHECK(sockets.spare() == 0);
  for (const size_t batch : {2, 4, 8, 16, 16}) {
    nowMs += SpareSockets::kBurstMs - 1;
    for (size_t left = batch; left > 0; left--) {
      CHECK(sockets.take(nowMs).ok());
      CHECK(sockets.spare() == left - 1);
    }
  }
  nowMs += SpareSockets::kBurstMs;
  CHECK(sockets.take(nowMs).ok());
  CHECK(sockets.spare() == 0);
}

TEST_CASE("each socket of a batch is set up, with the system's congestion control or another") {
  for (const char* wanted : {"reno", "cubic"}) {
    SpareSockets sockets(-1, AF_INET6, {0, wanted, false});
    for (size_t i = 0; i < 7; i++) {
      const auto fd = sockets.take(5);
      REQUIRE(fd.ok());
      int noDelay = 0;
      socklen_t length = sizeof noDelay;
      CHECK(::getsockopt(fd.value().get(), IPPROTO_TCP, TCP_NODELAY, &noDelay, &length) == 0);
      CHECK(noDelay == 1);
      CHECK(congestionOf(fd.value().get()) == wanted);
    }
  }
}
