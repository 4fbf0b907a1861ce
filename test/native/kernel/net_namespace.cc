// SPDX-License-Identifier: Apache-2.0
#include "kernel/net_namespace.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>

#include "io/netns.h"
#include "io/sys.h"

namespace weft::test {
namespace {

constexpr const char* kCable = "cable";
constexpr int kWaitMs = 10'000;

void need(bool ok, const char* what) {
  if (!ok) {
    std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
    std::abort();
  }
}

/// One request of rtnetlink, which grows by attributes; some of them hold others.
class RouteRequest {
 public:
  RouteRequest(uint16_t type, uint16_t flags) {
    header()->nlmsg_len = NLMSG_HDRLEN;
    header()->nlmsg_type = type;
    header()->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  }

  /// A structure, as the head of the request or of an attribute that is open.
  template <typename T>
  void body(const T& value) {
    append(&value, sizeof value);
  }
  void attribute(uint16_t type, const void* data, size_t size) {
    const size_t at = open(type);
    append(data, size);
    close(at);
  }
  void attribute(uint16_t type, std::string_view text) {
    attribute(type, text.data(), text.size());
  }
  size_t open(uint16_t type) {
    const size_t at = header()->nlmsg_len;
    const rtattr head{0, type};
    append(&head, sizeof head);
    return at;
  }
  void close(size_t at) {
    reinterpret_cast<rtattr*>(bytes_.data() + at)->rta_len =
        static_cast<uint16_t>(header()->nlmsg_len - at);
    header()->nlmsg_len = NLMSG_ALIGN(header()->nlmsg_len);
  }

  /// Sends it in a namespace, and waits for the kernel's answer.
  void send(const NetNamespace& in, const char* what) {
    const UniqueFd own = io::socketIn(in.fd.get(), AF_NETLINK, SOCK_RAW, NETLINK_ROUTE).value();
    const int socket = own.get();
    need(::send(socket, bytes_.data(), header()->nlmsg_len, 0) >= 0, what);
    struct {
      nlmsghdr head;
      nlmsgerr error;
      std::array<char, 4096> more;
    } answer{};
    pollfd ready{socket, POLLIN, 0};
    need(::poll(&ready, 1, kWaitMs) == 1, what);
    need(::recv(socket, &answer, sizeof answer, 0) >= 0, what);
    errno = -answer.error.error;
    need(answer.head.nlmsg_type == NLMSG_ERROR && answer.error.error == 0, what);
  }

 private:
  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(bytes_.data()); }
  void append(const void* data, size_t size) {
    need(NLMSG_ALIGN(header()->nlmsg_len) + size <= bytes_.size(), "a request of rtnetlink");
    std::memcpy(bytes_.data() + header()->nlmsg_len, data, size);
    header()->nlmsg_len += static_cast<uint32_t>(size);
  }

  alignas(nlmsghdr) std::array<uint8_t, 1024> bytes_{};
};

void setUp(const NetNamespace& in, const char* name) {
  const auto any = io::socketIn(in.fd.get(), AF_INET, SOCK_DGRAM);
  ifreq request{};
  std::strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
  need(::ioctl(any.value().get(), SIOCGIFFLAGS, &request) == 0, name);
  request.ifr_flags = static_cast<int16_t>(request.ifr_flags | IFF_UP);
  need(::ioctl(any.value().get(), SIOCSIFFLAGS, &request) == 0, name);
}

void addAddresses(const NetNamespace& in, std::span<const Ip> addresses) {
  const auto any = io::socketIn(in.fd.get(), AF_INET, SOCK_DGRAM);
  ifreq request{};
  std::strncpy(request.ifr_name, kCable, sizeof request.ifr_name - 1);
  need(::ioctl(any.value().get(), SIOCGIFINDEX, &request) == 0, kCable);
  for (const Ip& ip : addresses) {
    ifaddrmsg head{};
    head.ifa_family = ip.isV4() ? AF_INET : AF_INET6;
    head.ifa_prefixlen = ip.isV4() ? 24 : 64;
    head.ifa_flags = ip.isV4() ? 0 : IFA_F_NODAD;
    head.ifa_index = static_cast<uint32_t>(request.ifr_ifindex);
    RouteRequest add(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    add.body(head);
    const size_t skipped = ip.isV4() ? 12 : 0;
    add.attribute(IFA_LOCAL, ip.bytes.data() + skipped, ip.bytes.size() - skipped);
    add.attribute(IFA_ADDRESS, ip.bytes.data() + skipped, ip.bytes.size() - skipped);
    add.send(in, "add an address");
  }
}

/// An address in the family of a socket.
struct Sockaddr {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Sockaddr sockaddrOf(Spelling spelling, const Endpoint& endpoint) {
  Sockaddr out;
  const sockaddr_in6 wide = endpoint.toSockaddr();
  if (spelling != Spelling::kIpv4) {
    std::memcpy(&out.storage, &wide, sizeof wide);
    out.size = sizeof wide;
    return out;
  }
  sockaddr_in narrow{};
  narrow.sin_family = AF_INET;
  narrow.sin_port = wide.sin6_port;
  std::memcpy(&narrow.sin_addr, endpoint.ip.bytes.data() + 12, sizeof narrow.sin_addr);
  std::memcpy(&out.storage, &narrow, sizeof narrow);
  out.size = sizeof narrow;
  return out;
}

void waitFor(int fd, int16_t events, const char* what) {
  pollfd ready{fd, events, 0};
  need(::poll(&ready, 1, kWaitMs) == 1, what);
}

}  // namespace

NetNamespace makeNetNamespace() {
  NetNamespace made;
  // Of a thread of its own: this one stays where it is.
  std::thread([&made] {
    need(::unshare(CLONE_NEWNET) == 0, "a network namespace");
    made.fd = UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
  need(made.fd.get() >= 0, "a network namespace");
  made.cookie = io::netnsCookie(made.fd.get()).value();
  setUp(made, "lo");
  return made;
}

void joinByCable(const NetNamespace& a, std::span<const Ip> addressesOfA, const NetNamespace& b,
                 std::span<const Ip> addressesOfB) {
  RouteRequest add(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  add.body(ifinfomsg{});
  add.attribute(IFLA_IFNAME, kCable);
  const size_t info = add.open(IFLA_LINKINFO);
  add.attribute(IFLA_INFO_KIND, "veth");
  const size_t data = add.open(IFLA_INFO_DATA);
  const size_t peer = add.open(VETH_INFO_PEER);
  add.body(ifinfomsg{});
  add.attribute(IFLA_IFNAME, kCable);
  const int there = b.fd.get();
  add.attribute(IFLA_NET_NS_FD, &there, sizeof there);
  add.close(peer);
  add.close(data);
  add.close(info);
  add.send(a, "lay a cable");
  setUp(a, kCable);
  setUp(b, kCable);
  addAddresses(a, addressesOfA);
  addAddresses(b, addressesOfB);
}

int familyOf(Spelling spelling) {
  return spelling == Spelling::kIpv4 ? AF_INET : AF_INET6;
}

Attempt connectFrom(const NetNamespace& from, Spelling spelling, const Endpoint& to) {
  Attempt attempt{io::socketIn(from.fd.get(), familyOf(spelling), SOCK_STREAM).value()};
  const Sockaddr address = sockaddrOf(spelling, to);
  const int fd = attempt.socket.get();
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0) {
    return attempt;
  }
  attempt.error = errno;
  if (attempt.error == EINPROGRESS) {
    waitFor(fd, POLLOUT, "a connection");
    attempt.error = errorOf(attempt.socket);
  }
  return attempt;
}

UniqueFd askFrom(const NetNamespace& from, Spelling spelling, const Endpoint& to,
                 const char* text) {
  UniqueFd socket = io::socketIn(from.fd.get(), familyOf(spelling), SOCK_DGRAM).value();
  const Sockaddr address = sockaddrOf(spelling, to);
  need(::sendto(socket.get(), text, std::strlen(text), 0,
                reinterpret_cast<const sockaddr*>(&address.storage), address.size) >= 0,
       "ask by UDP");
  return socket;
}

int connectAgain(const UniqueFd& socket, Spelling spelling, const Endpoint& to) {
  const Sockaddr address = sockaddrOf(spelling, to);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address.storage);
  return ::connect(socket.get(), raw, address.size) == 0 ? 0 : errno;
}

UniqueFd receiveAt(const NetNamespace& in, uint16_t port) {
  UniqueFd socket = io::socketIn(in.fd.get(), AF_INET6, SOCK_DGRAM).value();
  const Sockaddr any = sockaddrOf(Spelling::kIpv6, Endpoint{Ip{}, port});
  need(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&any.storage), any.size) == 0,
       "receive by UDP");
  return socket;
}

Accepted acceptFrom(const UniqueFd& listener) {
  waitFor(listener.get(), POLLIN, "a connection to accept");
  Accepted accepted;
  accepted.socket = UniqueFd(io::acceptTcp(listener.get(), accepted.peer));
  need(accepted.socket.get() >= 0, "accept");
  return accepted;
}

bool hasConnection(const UniqueFd& listener) {
  pollfd ready{listener.get(), POLLIN, 0};
  return ::poll(&ready, 1, 0) == 1;
}

void waitReadable(const UniqueFd& socket) {
  waitFor(socket.get(), POLLIN, "something to read");
}

Endpoint peerOf(const UniqueFd& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  need(::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0,
       "getpeername");
  return *Endpoint::fromSockaddr(address);
}

Endpoint nameOf(const UniqueFd& socket) {
  return *io::localEndpoint(socket.get());
}

int errorOf(const UniqueFd& socket) {
  int error = 0;
  socklen_t size = sizeof error;
  need(::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0, "SO_ERROR");
  return error;
}

}  // namespace weft::test
