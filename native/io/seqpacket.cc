// SPDX-License-Identifier: Apache-2.0
#include "io/seqpacket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace weft::io {
namespace {

constexpr int kListenBacklog = 16;

Result<UniqueFd> newSocket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return fd ? Result<UniqueFd>(std::move(fd)) : Status::fromErrno("socket", errno);
}

Result<sockaddr_un> addressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Status{Code::kInvalid, "socket path is empty or over 107 bytes: " + path};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool connectTo(int fd, const sockaddr_un& address) {
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

/// Moves the descriptors of a received message into `packet`, closing what is over the maximum.
void takeFds(msghdr& message, Packet& packet) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      packet.fds.emplace_back(fd);
    }
  }
}

}  // namespace

Result<UniqueFd> listenSeqpacket(const std::string& path) {
  Result<sockaddr_un> address = addressOf(path);
  if (!address.ok()) {
    return address.status();
  }
  Result<UniqueFd> probe = newSocket();
  Result<UniqueFd> made = newSocket();
  if (!probe.ok() || !made.ok()) {
    return probe.ok() ? made.status() : probe.status();
  }
  if (connectTo(probe.value().get(), address.value())) {
    return Status{Code::kUnavailable, "another process listens at " + path};
  }
  ::unlink(path.c_str());
  UniqueFd fd = std::move(made).value();
  // The mode must hold from the first moment on: bind() applies the umask, chmod() would be late.
  const mode_t before = ::umask(0177);
  const int bound =
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.value()), sizeof(sockaddr_un));
  const int error = errno;
  ::umask(before);
  if (bound != 0) {
    return Status::fromErrno(("bind " + path).c_str(), error);
  }
  if (::listen(fd.get(), kListenBacklog) != 0) {
    return Status::fromErrno("listen", errno);
  }
  return fd;
}

int acceptSeqpacket(int listener) {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return fd >= 0 ? fd : -errno;
}

Result<UniqueFd> connectSeqpacket(const std::string& path) {
  Result<sockaddr_un> address = addressOf(path);
  if (!address.ok()) {
    return address.status();
  }
  Result<UniqueFd> made = newSocket();
  if (!made.ok()) {
    return made.status();
  }
  if (!connectTo(made.value().get(), address.value())) {
    return Status{Code::kUnavailable, "connect to " + path + ": " + std::strerror(errno)};
  }
  return std::move(made).value();
}

Result<PeerCredentials> peerCredentials(int fd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return Status::fromErrno("SO_PEERCRED", errno);
  }
  return PeerCredentials{credentials.pid, credentials.uid};
}

Status sendPacket(int fd, std::span<const uint8_t> bytes, int passFd) {
  iovec piece{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (passFd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &passFd, sizeof passFd);
  }
  if (::sendmsg(fd, &message, MSG_NOSIGNAL) < 0) {
    return {Code::kUnavailable, std::string("send packet: ") + std::strerror(errno)};
  }
  return {};
}

ReceiveOutcome receivePacket(int fd, Packet& packet) {
  packet = Packet{};
  packet.bytes.resize(kPacketBytesMax);
  iovec piece{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kPacketFdsMax)];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = 0;
  do {
    n = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    return errno == EAGAIN ? ReceiveOutcome::kLater : ReceiveOutcome::kClosed;
  }
  takeFds(message, packet);
  if (n == 0 && packet.fds.empty()) {
    return ReceiveOutcome::kClosed;  // an empty packet cannot be told from the end: protocol error
  }
  packet.truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  packet.bytes.resize(static_cast<size_t>(n));
  return ReceiveOutcome::kPacket;
}

}  // namespace weft::io
