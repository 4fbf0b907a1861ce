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

/// Makes way at `path`: a socket that nobody serves goes, anything else stays.
Status removeStale(const std::string& path, const sockaddr_un& address) {
  struct stat at {};
  if (::lstat(path.c_str(), &at) != 0) {
    return errno == ENOENT ? Status{} : Status::fromErrno(path.c_str(), errno);
  }
  if (!S_ISSOCK(at.st_mode)) {
    return {Code::kInvalid, path + " exists and is no socket"};
  }
  Result<UniqueFd> probe = newSocket();
  if (!probe.ok()) {
    return probe.status();
  }
  // Only a refusal says that nobody listens: EAGAIN is a full queue, EPROTOTYPE another kind.
  if (connectTo(probe.value().get(), address) || errno != ECONNREFUSED) {
    return {Code::kUnavailable, "another process listens at " + path};
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return Status::fromErrno(path.c_str(), errno);
  }
  return {};
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
  Result<UniqueFd> made = newSocket();
  if (!made.ok()) {
    return made.status();
  }
  if (Status status = removeStale(path, address.value()); !status.ok()) {
    return status;
  }
  UniqueFd fd = std::move(made).value();
  // The mode must hold from the first moment on. Linux gives the file the mode of the socket's own
  // inode; the umask, which could do the same, belongs to all threads.
  if (::fchmod(fd.get(), 0600) != 0) {
    return Status::fromErrno("fchmod", errno);
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.value()), sizeof(sockaddr_un)) !=
      0) {
    return Status::fromErrno(("bind " + path).c_str(), errno);
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
