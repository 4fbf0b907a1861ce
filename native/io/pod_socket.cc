// SPDX-License-Identifier: Apache-2.0
#include "io/pod_socket.h"

#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "io/netns.h"
#include "io/sys.h"

namespace weft::io {
namespace {

constexpr int kPodBacklog = 128;

template <typename Make>
Result<UniqueFd> onOwnThread(Make make) {
  std::optional<Result<UniqueFd>> made;
  std::thread([&] { made.emplace(make()); }).join();
  return std::move(*made);
}

Status setInt(int fd, int level, int option, int value, const char* what) {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0) {
    return Status::fromErrno(what, errno);
  }
  return {};
}

Status bindTo(int fd, const Endpoint& local) {
  if (local.ip.isV4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(local.port);
    std::memcpy(&in.sin_addr, local.ip.bytes.data() + 12, 4);
    return ::bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof in) == 0
               ? Status{}
               : Status::fromErrno(("bind " + local.toString()).c_str(), errno);
  }
  const sockaddr_in6 in = local.toSockaddr();
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof in) == 0
             ? Status{}
             : Status::fromErrno(("bind " + local.toString()).c_str(), errno);
}

Status prepare(int fd, bool ipv6, int type, uint32_t mark) {
  if (mark != 0) {
    // Without it capture would send the socket's packets back to us: fail closed.
    if (Status s = setInt(fd, SOL_SOCKET, SO_MARK, static_cast<int>(mark), "SO_MARK"); !s.ok()) {
      return s;
    }
  }
  if (ipv6) {
    if (Status s = setInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY"); !s.ok()) {
      return s;
    }
  }
  // With TCP it shares the port with nobody who listens. With UDP it would, with anybody.
  if (type == SOCK_STREAM) {
    if (Status s = setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"); !s.ok()) {
      return s;
    }
  }
  return {};
}

Result<UniqueFd> unbound(int netns, bool ipv6, int type, uint32_t mark) {
  Result<UniqueFd> made = socketIn(netns, ipv6 ? AF_INET6 : AF_INET, type);
  if (made.ok()) {
    if (Status s = prepare(made.value().get(), ipv6, type, mark); !s.ok()) {
      return s;
    }
  }
  return made;
}

Result<UniqueFd> bound(int netns, const Endpoint& local, int type, uint32_t mark) {
  Result<UniqueFd> made = unbound(netns, !local.ip.isV4(), type, mark);
  if (made.ok()) {
    if (Status s = bindTo(made.value().get(), local); !s.ok()) {
      return s;
    }
  }
  return made;
}

Status sendFrame(int fd, const PodFrame& frame) {
  ifreq request{};
  frame.device.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (::ioctl(fd, SIOCGIFINDEX, &request) != 0) {
    return Status::fromErrno(frame.device.c_str(), errno);
  }
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = request.ifr_ifindex;
  const ssize_t sent = ::sendto(fd, frame.bytes.data(), frame.bytes.size(), 0,
                                reinterpret_cast<const sockaddr*>(&to), sizeof to);
  return sent < 0 ? Status::fromErrno("send a frame", errno) : Status{};
}

Status sendFrames(int netns, std::span<const PodFrame> frames) {
  const Result<UniqueFd> made = socketIn(netns, AF_PACKET, SOCK_RAW);
  if (!made.ok()) {
    return made.status();
  }
  for (const PodFrame& frame : frames) {
    if (Status status = sendFrame(made.value().get(), frame); !status.ok()) {
      return status;
    }
  }
  return {};
}

}  // namespace

Result<UniqueFd> openPodUdp(int netns, const Endpoint& local, uint32_t mark) {
  return onOwnThread([&] { return bound(netns, local, SOCK_DGRAM, mark); });
}

Result<UniqueFd> openPodUdpUnbound(int netns, bool ipv6, uint32_t mark) {
  return onOwnThread([&] { return unbound(netns, ipv6, SOCK_DGRAM, mark); });
}

Status unshare(int fd) {
  if (Status s = setInt(fd, SOL_SOCKET, SO_REUSEADDR, 0, "SO_REUSEADDR"); !s.ok()) {
    return s;
  }
  return setInt(fd, SOL_SOCKET, SO_REUSEPORT, 0, "SO_REUSEPORT");
}

Status bindAlone(int fd, const Endpoint& local) {
  Status status = unshare(fd);
  return status.ok() ? bindTo(fd, local) : status;
}

Status checkPodSocket(int fd, int netns, int type, const Endpoint& local) {
  Status status;
  std::thread([&] { status = checkInherited(fd, netns, type, local); }).join();
  return status;
}

Result<UniqueFd> listenPodTcp(int netns, const Endpoint& local, uint32_t mark) {
  return onOwnThread([&]() -> Result<UniqueFd> {
    Result<UniqueFd> made = bound(netns, local, SOCK_STREAM, mark);
    if (made.ok() && ::listen(made.value().get(), kPodBacklog) != 0) {
      return Status::fromErrno("listen", errno);
    }
    return made;
  });
}

Result<UniqueFd> connectPodTcp(int netns, const Endpoint& to, uint32_t mark) {
  TcpOptions options;
  options.mark = mark;
  return onOwnThread([&] { return connectTcp(netns, to, std::nullopt, options); });
}

Status sendPodFrames(int netns, std::span<const PodFrame> frames) {
  Status status;
  std::thread([&] { status = sendFrames(netns, frames); }).join();
  return status;
}

}  // namespace weft::io
