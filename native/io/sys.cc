// SPDX-License-Identifier: Apache-2.0
#include "io/sys.h"

#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "io/netns.h"

namespace weft::io {
namespace {

constexpr int kListenBacklog = 4096;
constexpr int kKeepaliveSeconds = 180;
constexpr int kKeepaliveProbes = 9;

bool setInt(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

int flagsBefore(Next next) {
  return next == Next::kEnd ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
}

void ackWithAnswers(int fd) {
  setInt(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// In the family of the address itself, so that a kernel without IPv6 serves IPv4.
SocketAddress addressOf(const Endpoint& e) {
  SocketAddress out;
  if (e.ip.isV4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(e.port);
    std::memcpy(&in.sin_addr, e.ip.bytes.data() + 12, 4);
    std::memcpy(&out.storage, &in, sizeof in);
    out.length = sizeof in;
  } else {
    const sockaddr_in6 in = e.toSockaddr();
    std::memcpy(&out.storage, &in, sizeof in);
    out.length = sizeof in;
  }
  return out;
}

Status bindTransparent(int fd, const Ip& source) {
  const bool v4 = source.isV4();
  const bool set = v4 ? setInt(fd, IPPROTO_IP, IP_TRANSPARENT, 1)
                      : setInt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
  if (!set) {
    return Status::fromErrno("IP_TRANSPARENT", errno);
  }
  // The port is chosen at connect, by the whole 4-tuple: no early exhaustion.
  setInt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  const SocketAddress address = addressOf({source, 0});
  if (::bind(fd, address.get(), address.length) != 0) {
    return Status::fromErrno("bind to the source address", errno);
  }
  return {};
}

template <typename Call>
ssize_t retried(Call call) {
  ssize_t n = 0;
  do {
    n = call();
  } while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

}  // namespace

Status setMark(int fd, uint32_t mark) {
  return setInt(fd, SOL_SOCKET, SO_MARK, static_cast<int>(mark))
             ? Status{}
             : Status::fromErrno("SO_MARK", errno);
}

Status setUp(int fd, const TcpOptions& options) {
  setInt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (options.mark != 0) {
    if (Status status = setMark(fd, options.mark); !status.ok()) {
      return status;  // without it capture would loop: fail closed
    }
  }
  if (!options.congestion.empty()) {
    // A kernel without this algorithm serves with its default.
    ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options.congestion.data(),
                 static_cast<socklen_t>(options.congestion.size()));
  }
  if (options.keepalive) {
    setInt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    setInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveSeconds);
    setInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveSeconds);
    setInt(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
  }
  if (options.userTimeoutMs != 0) {
    setInt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(options.userTimeoutMs));
  }
  if (options.answersSoon) {
    ackWithAnswers(fd);
  }
  return {};
}

std::string congestionOf(int fd) {
  char name[16] = {};  // TCP_CA_NAME_MAX
  socklen_t length = sizeof name;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) != 0) {
    return {};
  }
  return {name, strnlen(name, sizeof name)};
}

Result<UniqueFd> listenTcp(int netns, uint16_t port, const TcpOptions& options) {
  Ip any;  // ::
  Result<UniqueFd> made = socketIn(netns, AF_INET6, SOCK_STREAM);
  if (!made.ok()) {
    any = *Ip::parse("0.0.0.0");
    made = socketIn(netns, AF_INET, SOCK_STREAM);
  }
  if (!made.ok()) {
    return made.status();
  }
  UniqueFd fd = std::move(made).value();
  if (!any.isV4()) {
    setInt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  }
  setInt(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (Status s = setUp(fd.get(), options); !s.ok()) {
    return s;
  }
  const SocketAddress address = addressOf({any, port});
  if (::bind(fd.get(), address.get(), address.length) != 0) {
    return Status::fromErrno(("bind port " + std::to_string(port)).c_str(), errno);
  }
  if (::listen(fd.get(), kListenBacklog) != 0) {
    return Status::fromErrno("listen", errno);
  }
  if (options.answersSoon) {
    ackWithAnswers(fd.get());  // listen() forgot it
  }
  return fd;
}

Status checkInherited(int fd, int netns, int type, const Endpoint& local) {
  const Result<uint64_t> cookie = netnsCookie(netns);
  if (!cookie.ok()) {
    return cookie.status();
  }
  uint64_t own = 0;
  int ownType = 0;
  int listens = 0;
  socklen_t cookieLength = sizeof own;
  socklen_t length = sizeof listens;
  const bool isOne = ::getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &own, &cookieLength) == 0 &&
                     ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &ownType, &length) == 0 &&
                     ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 &&
                     own == cookie.value() && ownType == type &&
                     (listens != 0) == (type == SOCK_STREAM);
  const auto at = localEndpoint(fd);
  const bool isThere =
      at.has_value() && at->port == local.port && (at->ip == local.ip || local.ip.isAny());
  if (!isOne || !isThere) {
    return {Code::kInvalid, "not the pod's socket at " + local.toString()};
  }
  return {};
}

int acceptTcp(int listener, Endpoint& peer) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  const auto fd = static_cast<int>(retried([&] {
    return ::accept4(listener, reinterpret_cast<sockaddr*>(&address), &length,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
  }));
  if (fd >= 0) {
    peer = Endpoint::fromSockaddr(address).value_or(Endpoint{});
  }
  return fd;
}

Result<UniqueFd> connectTcp(int netns, const Endpoint& to, const std::optional<Ip>& source,
                            const TcpOptions& options) {
  Result<UniqueFd> made = socketIn(netns, to.ip.isV4() ? AF_INET : AF_INET6, SOCK_STREAM);
  if (!made.ok()) {
    return made.status();
  }
  if (Status s = setUp(made.value().get(), options); !s.ok()) {
    return s;
  }
  return connectTcp(std::move(made).value(), to, source);
}

Result<UniqueFd> connectTcp(UniqueFd fd, const Endpoint& to, const std::optional<Ip>& source) {
  if (source.has_value()) {
    if (Status s = bindTransparent(fd.get(), *source); !s.ok()) {
      return s;
    }
  }
  const SocketAddress address = addressOf(to);
  if (::connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS) {
    return Status{Code::kUnavailable, "connect to " + to.toString() + ": " + std::strerror(errno)};
  }
  return fd;
}

Status connectResult(int fd, uint32_t events) {
  return (events & (EPOLLERR | EPOLLHUP)) == 0 ? Status{} : socketError(fd);
}

Status socketError(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
    error = errno;
  }
  if (error == 0) {
    return {};
  }
  return {Code::kUnavailable, std::string("connect: ") + std::strerror(error)};
}

std::optional<Endpoint> netfilterOriginalDst(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &address, &length) == 0) {
    return Endpoint::fromSockaddr(address);
  }
  length = sizeof address;
  if (::getsockopt(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, &address, &length) == 0) {
    return Endpoint::fromSockaddr(address);
  }
  return std::nullopt;
}

std::optional<Endpoint> localEndpoint(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return std::nullopt;
  }
  return Endpoint::fromSockaddr(address);
}

ssize_t receiveSome(int fd, std::span<uint8_t> into) {
  return retried([&] { return ::recv(fd, into.data(), into.size(), 0); });
}

ssize_t peek(int fd) {
  uint8_t one = 0;
  return retried([&] { return ::recv(fd, &one, sizeof one, MSG_PEEK); });
}

ssize_t sendSome(int fd, std::span<const uint8_t> bytes, Next next) {
  return retried([&] { return ::send(fd, bytes.data(), bytes.size(), flagsBefore(next)); });
}

ssize_t sendPieces(int fd, std::span<const iovec> pieces, Next next) {
  if (pieces.size() == 1) {
    return sendSome(fd, {static_cast<const uint8_t*>(pieces[0].iov_base), pieces[0].iov_len}, next);
  }
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return retried([&] { return ::sendmsg(fd, &message, flagsBefore(next)); });
}

void shutdownWrite(int fd) {
  ::shutdown(fd, SHUT_WR);
}

void resetOnClose(int fd) {
  const linger now{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void endOnClose(int fd) {
  const linger later{0, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &later, sizeof later);
}

}  // namespace weft::io
