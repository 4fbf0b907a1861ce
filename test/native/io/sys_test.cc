// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "io/sys.h"

#include "proxy/hbone_peer.h"

#include <doctest/doctest.h>
// clang-format on
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

using namespace weft::io;
using weft::Code;
using weft::Endpoint;
using weft::Ip;
using weft::UniqueFd;

namespace {

int intOption(int fd, int level, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  REQUIRE(::getsockopt(fd, level, option, &value, &length) == 0);
  return value;
}

bool wait(int fd, short events) {
  pollfd one{fd, events, 0};
  return ::poll(&one, 1, 5000) == 1;
}

/// Both ends of a connection over loopback, made with the functions under test.
struct Connection {
  explicit Connection(const char* ip = "127.0.0.1", const TcpOptions& options = {}) {
    auto made = listenTcp(-1, 0, options);
    REQUIRE(made.ok());
    listener = std::move(made).value();
    to = {*Ip::parse(ip), localEndpoint(listener.get())->port};
    auto connected = connectTcp(-1, to, std::nullopt, {});
    REQUIRE(connected.ok());
    client = std::move(connected).value();
    REQUIRE(wait(client.get(), POLLOUT));
    REQUIRE(socketError(client.get()).ok());
    REQUIRE(wait(listener.get(), POLLIN));
    server.reset(acceptTcp(listener.get(), peer));
    REQUIRE(server);
  }
  UniqueFd listener, client, server;
  Endpoint to, peer;
};

std::vector<uint8_t> bytes(std::string_view text) {
  return {text.begin(), text.end()};
}

}  // namespace

TEST_CASE("one listener serves IPv4 and IPv6, and tells addresses apart") {
  for (const char* ip : {"127.0.0.1", "::1"}) {
    const Connection c(ip);
    CHECK(c.peer.ip == *Ip::parse(ip));
    CHECK(localEndpoint(c.server.get()) == c.to);
    CHECK(localEndpoint(c.client.get()) == c.peer);
  }
}

TEST_CASE("a listener with nobody waiting answers at once") {
  const auto listener = listenTcp(-1, 0, {});
  REQUIRE(listener.ok());
  Endpoint peer;
  CHECK(acceptTcp(listener.value().get(), peer) == -EAGAIN);
}

TEST_CASE("nobody gets a port beside its listener, whatever the address and the options") {
  const auto listener = listenTcp(-1, 0, {});
  REQUIRE(listener.ok());
  const uint16_t port = localEndpoint(listener.value().get())->port;
  CHECK_FALSE(listenTcp(-1, port, {}).ok());
  for (const char* ip : {"::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1"}) {
    INFO(ip);
    const UniqueFd other(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    REQUIRE(::setsockopt(other.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    REQUIRE(::setsockopt(other.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
    sockaddr_in6 at{};
    at.sin6_family = AF_INET6;
    at.sin6_port = htons(port);
    REQUIRE(::inet_pton(AF_INET6, ip, &at.sin6_addr) == 1);
    CHECK(::bind(other.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == -1);
    CHECK(errno == EADDRINUSE);
  }
}

TEST_CASE("an accepted socket has its listener's options") {
  const Connection c("127.0.0.1", {0, "reno", true, 20000});
  CHECK(intOption(c.server.get(), IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK(intOption(c.server.get(), SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(intOption(c.server.get(), IPPROTO_TCP, TCP_KEEPIDLE) == 180);
  CHECK(intOption(c.server.get(), IPPROTO_TCP, TCP_USER_TIMEOUT) == 20000);
  char name[16] = {};
  socklen_t length = sizeof name;
  REQUIRE(::getsockopt(c.server.get(), IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0);
  CHECK(std::string(name) == "reno");
  CHECK(intOption(c.client.get(), SOL_SOCKET, SO_KEEPALIVE) == 0);
}

TEST_CASE("acknowledgements wait for answers at both ends, if that is asked for") {
  TcpOptions options;
  options.answersSoon = true;
  const Connection c("127.0.0.1", options);
  CHECK(intOption(c.server.get(), IPPROTO_TCP, TCP_QUICKACK) == 0);
  CHECK(intOption(c.client.get(), IPPROTO_TCP, TCP_QUICKACK) == 1);
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(setUp(fd.get(), options).ok());
  CHECK(intOption(fd.get(), IPPROTO_TCP, TCP_QUICKACK) == 0);
}

TEST_CASE("the last bytes and the end of the stream are one segment") {
  const Connection c;
  const uint32_t before = weft::test::segmentsOf(c.client.get()).sent;
  auto said = bytes("abc");
  SUBCASE("of one piece") {
    REQUIRE(sendSome(c.client.get(), said, Next::kEnd) == 3);
  }
  SUBCASE("of several") {
    const iovec pieces[] = {{said.data(), 1}, {said.data() + 1, 2}};
    REQUIRE(sendPieces(c.client.get(), pieces, Next::kEnd) == 3);
  }
  shutdownWrite(c.client.get());
  CHECK(weft::test::segmentsOf(c.client.get()).sent == before + 1);
  uint8_t got[8];
  REQUIRE(wait(c.server.get(), POLLIN));
  CHECK(receiveSome(c.server.get(), got) == 3);
  CHECK(receiveSome(c.server.get(), got) == 0);
}

TEST_CASE("a mark is set, or the socket is not made") {
  const auto listener = listenTcp(-1, 0, {0x539, {}, false});
  if (::geteuid() != 0) {
    MESSAGE("a mark needs CAP_NET_ADMIN: seen refused");
    CHECK_FALSE(listener.ok());
    return;
  }
  REQUIRE(listener.ok());
  CHECK(intOption(listener.value().get(), SOL_SOCKET, SO_MARK) == 0x539);
}

TEST_CASE("a congestion control that the kernel does not know is passed over") {
  CHECK(listenTcp(-1, 0, {0, "nonesuch", false}).ok());
}

TEST_CASE("a connect that is refused says so once it is known") {
  uint16_t port = 0;
  {
    const auto listener = listenTcp(-1, 0, {});
    port = localEndpoint(listener.value().get())->port;
  }
  const auto made = connectTcp(-1, {*Ip::parse("127.0.0.1"), port}, std::nullopt, {});
  if (made.ok()) {
    REQUIRE(wait(made.value().get(), POLLOUT));
    CHECK(connectResult(made.value().get(), EPOLLERR).code() == Code::kUnavailable);
  } else {
    CHECK(made.status().code() == Code::kUnavailable);
  }
}

TEST_CASE("a connection may come from an address that is not ours") {
  const auto ns = weft::test::NetworkNamespace::make();
  if (!ns) {
    MESSAGE("skipped: a network namespace needs CAP_SYS_ADMIN");
    return;
  }
  for (const char* text : {"192.0.2.1", "127.9.8.7"}) {
    const Ip source = *Ip::parse(text);
    const auto client = connectTcp(ns->fd().get(), {*Ip::parse("127.0.0.1"), 80}, source, {});
    REQUIRE(client.ok());
    CHECK(localEndpoint(client.value().get())->ip == source);
  }
}

TEST_CASE("bytes, pieces, the end and a reset arrive as what they are") {
  Connection c;
  uint8_t room[64];
  CHECK(receiveSome(c.server.get(), room) == -EAGAIN);
  CHECK(peek(c.server.get()) == -EAGAIN);
  auto hello = bytes("hello");
  auto world = bytes(" world");
  const iovec pieces[] = {{hello.data(), hello.size()}, {world.data(), world.size()}};
  CHECK(sendPieces(c.client.get(), pieces) == 11);
  CHECK(sendPieces(c.client.get(), {pieces, 1}) == 5);
  CHECK(sendSome(c.client.get(), world) == 6);
  REQUIRE(wait(c.server.get(), POLLIN));
  CHECK(peek(c.server.get()) == 1);
  CHECK(receiveSome(c.server.get(), room) == 22);
  CHECK(std::string(room, room + 22) == "hello worldhello world");
  SUBCASE("the end of one direction") {
    shutdownWrite(c.client.get());
    REQUIRE(wait(c.server.get(), POLLIN));
    CHECK(peek(c.server.get()) == 0);
    CHECK(receiveSome(c.server.get(), room) == 0);
    CHECK(sendSome(c.server.get(), hello) == 5);
    REQUIRE(wait(c.client.get(), POLLIN));
    CHECK(receiveSome(c.client.get(), room) == 5);
    CHECK(sendSome(c.client.get(), hello) == -EPIPE);
  }
  SUBCASE("a reset") {
    resetOnClose(c.client.get());
    c.client.reset();
    REQUIRE(wait(c.server.get(), POLLIN));
    CHECK(receiveSome(c.server.get(), room) == -ECONNRESET);
  }
}

TEST_CASE("a socket that would be reset by its close ends in order when that is asked for") {
  for (const bool isAsked : {false, true}) {
    INFO(isAsked);
    Connection c;
    resetOnClose(c.client.get());
    if (isAsked) {
      endOnClose(c.client.get());
    }
    c.client.reset();
    REQUIRE(wait(c.server.get(), POLLIN));
    uint8_t room[64];
    CHECK(receiveSome(c.server.get(), room) == (isAsked ? 0 : -ECONNRESET));
  }
}

TEST_CASE("a connection that nobody redirected has no original destination to trust") {
  const Connection c;
  const auto original = netfilterOriginalDst(c.server.get());
  // Where connection tracking is off the kernel knows nothing; else it knows what was dialled.
  CHECK((!original.has_value() || *original == c.to));
  CHECK_FALSE(netfilterOriginalDst(-1).has_value());
  CHECK_FALSE(localEndpoint(-1).has_value());
}
