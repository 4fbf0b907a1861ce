// SPDX-License-Identifier: Apache-2.0
// Sockets of the test's own namespace, listed and ended. Needs root.
#include "kernel/sock_diag.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "io/sys.h"

using weft::Endpoint;
using weft::Ip;
using weft::UniqueFd;
using weft::kernel::SockDiag;
using weft::kernel::TcpSocket;

namespace {

struct Ends {
  UniqueFd listener;
  UniqueFd client;
  UniqueFd server;
  Endpoint at;
};

Ends connected(const char* address) {
  const sockaddr_in6 any = Endpoint{*Ip::parse(address), 0}.toSockaddr();
  Ends ends;
  ends.listener = UniqueFd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(ends.listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0);
  REQUIRE(::listen(ends.listener.get(), 4) == 0);
  ends.at = weft::io::localEndpoint(ends.listener.get()).value();
  const sockaddr_in6 to = ends.at.toSockaddr();
  ends.client = UniqueFd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(ends.client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  ends.server = UniqueFd(::accept4(ends.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(ends.server);
  return ends;
}

TcpSocket found(SockDiag& sockets, const Endpoint& local, const Endpoint& remote) {
  std::vector<TcpSocket> all;
  REQUIRE(sockets
              .list([&](const TcpSocket& each) {
                if (each.local == local && each.remote == remote) {
                  all.push_back(each);
                }
              })
              .ok());
  REQUIRE(all.size() == 1);
  return all.front();
}

int errorOf(const UniqueFd& fd) {
  char byte = 0;
  return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) < 0 ? errno : 0;
}

}  // namespace

TEST_CASE("a socket that is listed can be ended, and only that one") {
  if (::geteuid() != 0) {
    return;
  }
  for (const char* address : {"127.0.0.1", "::1"}) {
    INFO(address);
    const Ends ends = connected(address);
    const Endpoint client = weft::io::localEndpoint(ends.client.get()).value();
    weft::Result<SockDiag> sockets = SockDiag::open(-1);
    REQUIRE(sockets.ok());
    TcpSocket socket = found(sockets.value(), ends.at, client);

    TcpSocket stale = socket;
    stale.cookie++;
    CHECK(sockets.value().end(stale).ok());
    CHECK(errorOf(ends.server) == EAGAIN);

    CHECK(sockets.value().end(socket).ok());
    CHECK(errorOf(ends.server) == ECONNABORTED);
    CHECK(errorOf(ends.client) == ECONNRESET);
  }
}

TEST_CASE("a socket that is gone takes no listener with it") {
  if (::geteuid() != 0) {
    return;
  }
  for (const char* address : {"127.0.0.1", "::1"}) {
    INFO(address);
    const Ends ends = connected(address);
    weft::Result<SockDiag> sockets = SockDiag::open(-1);
    REQUIRE(sockets.ok());
    const Endpoint nobody{*Ip::parse(address), 9};
    CHECK(sockets.value().end({ends.at, nobody, 0, 1}).ok());
    CHECK(sockets.value().end({ends.at, nobody, 0, 0}).ok());
    int listens = 0;
    socklen_t size = sizeof listens;
    REQUIRE(::getsockopt(ends.listener.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0);
    CHECK(listens == 1);
  }
}
