// SPDX-License-Identifier: Apache-2.0
#include "io/pod_socket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "io/netns.h"
#include "io/sys.h"

using weft::Endpoint;
using weft::Ip;
using weft::Result;
using weft::UniqueFd;

namespace {

UniqueFd ownNamespace() {
  return UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

/// A fresh namespace with its loopback up; nothing without the right to make one.
UniqueFd newNamespace() {
  UniqueFd fd;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      return;
    }
    const UniqueFd control(::socket(AF_INET, SOCK_DGRAM, 0));
    ifreq up{};
    std::strcpy(up.ifr_name, "lo");
    up.ifr_flags = IFF_UP | IFF_RUNNING;
    REQUIRE(::ioctl(control.get(), SIOCSIFFLAGS, &up) == 0);
    fd = ownNamespace();
  }).join();
  if (!fd) {
    MESSAGE("skipped: a network namespace needs CAP_SYS_ADMIN");
  }
  return fd;
}

ino_t inodeOf(int fd) {
  struct stat at {};
  REQUIRE(::fstat(fd, &at) == 0);
  return at.st_ino;
}

ino_t namespaceOf(int socket) {
  const UniqueFd of(::ioctl(socket, SIOCGSKNS));
  REQUIRE(of);
  return inodeOf(of.get());
}

int intOf(int fd, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  REQUIRE(::getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0);
  return value;
}

Endpoint at(const char* ip, uint16_t port) {
  return {*Ip::parse(ip), port};
}

/// What libuv does to a UDP socket that it is given, and more.
void share(int fd) {
  const int on = 1;
  REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
}

/// Binds with whatever options `fd` has; returns errno or 0.
int bindAsItIs(int fd, const Endpoint& local) {
  const sockaddr_in6 in6 = local.toSockaddr();
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(local.port);
  std::memcpy(&in.sin_addr, local.ip.bytes.data() + 12, 4);
  const int failed = local.ip.isV4()
                         ? ::bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof in)
                         : ::bind(fd, reinterpret_cast<const sockaddr*>(&in6), sizeof in6);
  return failed == 0 ? 0 : errno;
}

}  // namespace

TEST_CASE("sockets for a pod are in its namespace and marked, and this thread stays where it is") {
  const UniqueFd ns = newNamespace();
  if (!ns) {
    return;
  }
  const ino_t home = inodeOf(ownNamespace().get());
  const auto udp = weft::io::openPodUdp(ns.get(), at("127.0.0.1", 53), 0x539);
  const auto tcp = weft::io::listenPodTcp(ns.get(), at("::1", 53), 0x539);
  REQUIRE(udp.ok());
  REQUIRE(tcp.ok());
  for (const int fd : {udp.value().get(), tcp.value().get()}) {
    CHECK(namespaceOf(fd) == inodeOf(ns.get()));
    CHECK(intOf(fd, SO_MARK) == 0x539);
    CHECK(::fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  }
  CHECK(weft::io::localEndpoint(udp.value().get()) == at("127.0.0.1", 53));
  CHECK(intOf(tcp.value().get(), SO_ACCEPTCONN) == 1);
  CHECK(inodeOf(ownNamespace().get()) == home);
}

TEST_CASE("a port is nobody else's, of ours or of the kernel's choice, and free when we end") {
  const UniqueFd ns = newNamespace();
  if (!ns) {
    return;
  }
  {
    const auto udp = weft::io::openPodUdp(ns.get(), at("127.0.0.1", 53), 0);
    const auto tcp = weft::io::listenPodTcp(ns.get(), at("127.0.0.1", 53), 0);
    REQUIRE((udp.ok() && tcp.ok()));
    CHECK_FALSE(weft::io::openPodUdp(ns.get(), at("127.0.0.1", 53), 0).ok());
    CHECK_FALSE(weft::io::listenPodTcp(ns.get(), at("127.0.0.1", 53), 0).ok());
  }
  CHECK(weft::io::openPodUdp(ns.get(), at("127.0.0.1", 53), 0).ok());
  CHECK(weft::io::listenPodTcp(ns.get(), at("127.0.0.1", 53), 0).ok());
  const auto chosen = weft::io::openPodUdp(ns.get(), at("0.0.0.0", 0), 0);
  REQUIRE(chosen.ok());
  const Endpoint taken = *weft::io::localEndpoint(chosen.value().get());
  CHECK(taken.port != 0);
  CHECK_FALSE(weft::io::openPodUdp(ns.get(), taken, 0).ok());
}

TEST_CASE("a socket that was made to share its port gets the port alone or not at all") {
  const UniqueFd ns = newNamespace();
  if (!ns) {
    return;
  }
  for (const Endpoint& local : {at("127.0.0.1", 53), at("::1", 53)}) {
    const bool ipv6 = !local.ip.isV4();
    auto ours = weft::io::openPodUdpUnbound(ns.get(), ipv6, 0x539);
    auto other = weft::io::openPodUdpUnbound(ns.get(), ipv6, 0);
    REQUIRE((ours.ok() && other.ok()));
    const int first = ours.value().get();
    CHECK(namespaceOf(first) == inodeOf(ns.get()));
    CHECK(intOf(first, SO_MARK) == 0x539);
    CHECK(weft::io::localEndpoint(first)->port == 0);
    share(first);
    share(other.value().get());
    CHECK(weft::io::bindAlone(first, local).ok());
    CHECK(weft::io::localEndpoint(first) == local);
    CHECK(intOf(first, SO_REUSEADDR) == 0);
    CHECK(intOf(first, SO_REUSEPORT) == 0);
    CHECK(bindAsItIs(other.value().get(), local) == EADDRINUSE);
    ours.value().reset();
    REQUIRE(bindAsItIs(other.value().get(), local) == 0);
    const auto late = weft::io::openPodUdpUnbound(ns.get(), ipv6, 0);
    REQUIRE(late.ok());
    share(late.value().get());
    const weft::Status held = weft::io::bindAlone(late.value().get(), local);
    CHECK(held.code() == weft::Code::kConflict);
    CHECK(held.message() == "bind " + local.toString() + ": Address already in use");
  }
  CHECK_FALSE(weft::io::bindAlone(-1, at("127.0.0.1", 53)).ok());
}

TEST_CASE("a connection begins in the namespace; an address that is not there is an error") {
  const UniqueFd ns = newNamespace();
  if (!ns) {
    return;
  }
  const auto listener = weft::io::listenPodTcp(ns.get(), at("127.0.0.1", 53), 0);
  REQUIRE(listener.ok());
  const auto client = weft::io::connectPodTcp(ns.get(), at("127.0.0.1", 53), 0x539);
  REQUIRE(client.ok());
  CHECK(intOf(client.value().get(), SO_MARK) == 0x539);
  Endpoint peer;
  const UniqueFd accepted(weft::io::acceptTcp(listener.value().get(), peer));
  CHECK(accepted.get() >= 0);
  CHECK_FALSE(weft::io::connectPodTcp(ns.get(), at("192.0.2.1", 53), 0).ok());
  CHECK_FALSE(weft::io::openPodUdp(ns.get(), at("192.0.2.1", 53), 0).ok());
  CHECK_FALSE(weft::io::openPodUdp(9999, at("127.0.0.1", 53), 0).ok());
}

TEST_CASE("frames leave in their order by the device that is named") {
  const UniqueFd netns = newNamespace();
  if (!netns) {
    MESSAGE("skipped: no right to make a namespace");
    return;
  }
  Result<UniqueFd> sniffer = weft::Status{weft::Code::kInternal, "not made"};
  std::thread([&] {
    sniffer = weft::io::socketIn(netns.get(), AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  }).join();
  REQUIRE(sniffer.ok());
  std::vector<std::byte> first(60, std::byte{1});
  std::vector<std::byte> second(60, std::byte{2});
  const weft::io::PodFrame frames[] = {{"lo", first}, {"lo", second}};
  REQUIRE(weft::io::sendPodFrames(netns.get(), frames).ok());
  // The loopback shows what is sent, and then what comes in: both in the order of the frames.
  std::string seen;
  std::byte buffer[128];
  while (::recv(sniffer.value().get(), buffer, sizeof buffer, MSG_DONTWAIT) == 60) {
    seen += static_cast<char>('0' + static_cast<int>(buffer[59]));
  }
  CHECK(seen.find("1") < seen.find("2"));
  const weft::io::PodFrame nowhere[] = {{"none", first}, {"lo", second}};
  CHECK(weft::io::sendPodFrames(netns.get(), nowhere).message().starts_with("none: "));
}
