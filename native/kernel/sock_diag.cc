// SPDX-License-Identifier: Apache-2.0
#include "kernel/sock_diag.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "io/netns.h"

namespace weft::kernel {
namespace {

// States of linux/tcp_states.h that are no connection: one that closed, and a listener.
constexpr uint32_t kTimeWait = 6;
constexpr uint32_t kClose = 7;
constexpr uint32_t kListen = 10;
constexpr uint32_t kConnections = ~(1U << kTimeWait | 1U << kClose | 1U << kListen);
constexpr size_t kAnswerBytes = 64 << 10;
constexpr size_t kV4At = 12;

struct Request {
  nlmsghdr header{};
  inet_diag_req_v2 request{};
};

Request requestFor(uint16_t type, uint16_t flags, uint8_t family) {
  Request ask;
  ask.header.nlmsg_len = sizeof ask;
  ask.header.nlmsg_type = type;
  ask.header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  ask.request.sdiag_family = family;
  ask.request.sdiag_protocol = IPPROTO_TCP;
  ask.request.idiag_states = kConnections;
  return ask;
}

Ip ipOf(uint8_t family, const __be32* words) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(words);
  return Ip::fromBytes({bytes, size_t{family == AF_INET ? 4U : 16U}}).value_or(Ip{});
}

TcpSocket socketOf(const nlmsghdr& header) {
  const auto& message = *static_cast<const inet_diag_msg*>(NLMSG_DATA(&header));
  const inet_diag_sockid& id = message.id;
  TcpSocket socket;
  socket.local = {ipOf(message.idiag_family, id.idiag_src), ntohs(id.idiag_sport)};
  socket.remote = {ipOf(message.idiag_family, id.idiag_dst), ntohs(id.idiag_dport)};
  socket.cookie = static_cast<uint64_t>(id.idiag_cookie[1]) << 32 | id.idiag_cookie[0];
  auto left = static_cast<int>(header.nlmsg_len - NLMSG_LENGTH(sizeof message));
  for (const auto* each = reinterpret_cast<const rtattr*>(&message + 1); RTA_OK(each, left);
       each = RTA_NEXT(each, left)) {
    if (each->rta_type == INET_DIAG_MARK) {
      std::memcpy(&socket.mark, RTA_DATA(each), sizeof socket.mark);
    }
  }
  return socket;
}

Status statusOf(int error) {
  // ESTALE: another socket has these ends by now.
  const bool over = error == 0 || error == ENOENT || error == ESTALE;
  return over ? Status{} : Status::fromErrno("sock_diag", error);
}

int errorOf(const nlmsghdr& header) {
  return -static_cast<const nlmsgerr*>(NLMSG_DATA(&header))->error;
}

}  // namespace

Result<SockDiag> SockDiag::open(int netns) {
  Result<UniqueFd> made = io::socketIn(netns, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
  if (!made.ok()) {
    return made.status();
  }
  return SockDiag(std::move(made).value());
}

Status SockDiag::end(const TcpSocket& socket) {
  const bool v4 = socket.local.ip.isV4();
  Request ask = requestFor(SOCK_DESTROY, NLM_F_ACK, v4 ? AF_INET : AF_INET6);
  inet_diag_sockid& id = ask.request.id;
  id.idiag_sport = htons(socket.local.port);
  id.idiag_dport = htons(socket.remote.port);
  const size_t from = v4 ? kV4At : 0;
  std::memcpy(id.idiag_src, socket.local.ip.bytes.data() + from, 16 - from);
  std::memcpy(id.idiag_dst, socket.remote.ip.bytes.data() + from, 16 - from);
  id.idiag_cookie[0] = static_cast<uint32_t>(socket.cookie);
  id.idiag_cookie[1] = static_cast<uint32_t>(socket.cookie >> 32);
  if (::send(fd_.get(), &ask, sizeof ask, 0) < 0) {
    return Status::fromErrno("sock_diag", errno);
  }
  // The kernel answers before send() returns: nobody waits, whatever happens.
  alignas(nlmsghdr) std::array<char, 1024> answer{};
  if (::recv(fd_.get(), answer.data(), answer.size(), MSG_DONTWAIT) < 0) {
    return Status::fromErrno("sock_diag", errno);
  }
  const auto& header = *reinterpret_cast<const nlmsghdr*>(answer.data());
  return statusOf(header.nlmsg_type == NLMSG_ERROR ? errorOf(header) : 0);
}

Status SockDiag::listFamily(uint8_t family, const std::function<void(const TcpSocket&)>& each) {
  const Request ask = requestFor(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family);
  if (::send(fd_.get(), &ask, sizeof ask, 0) < 0) {
    return Status::fromErrno("sock_diag", errno);
  }
  alignas(nlmsghdr) static thread_local std::array<char, kAnswerBytes> answer;
  while (true) {
    const ssize_t n = ::recv(fd_.get(), answer.data(), answer.size(), MSG_DONTWAIT);
    if (n < 0) {
      return Status::fromErrno("sock_diag", errno);
    }
    auto left = static_cast<uint32_t>(n);
    for (auto* header = reinterpret_cast<nlmsghdr*>(answer.data()); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) {
        return {};
      }
      if (header->nlmsg_type == NLMSG_ERROR) {
        return statusOf(errorOf(*header));
      }
      each(socketOf(*header));
    }
  }
}

Status SockDiag::list(const std::function<void(const TcpSocket&)>& each) {
  Status status = listFamily(AF_INET, each);
  return status.ok() ? listFamily(AF_INET6, each) : status;
}

}  // namespace weft::kernel
