// SPDX-License-Identifier: Apache-2.0
#include "io/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71  // Linux 5.14
#endif

namespace weft::io {
namespace {

/// The namespace this thread was born in.
int homeNetns() {
  static thread_local const UniqueFd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  CHECK(home.get() >= 0);
  return home.get();
}

}  // namespace

Result<UniqueFd> socketIn(int netns, int family, int type, int protocol) {
  std::vector<UniqueFd> made;
  if (Status status = socketsIn(netns, family, type, 1, made, protocol); !status.ok()) {
    return status;
  }
  return std::move(made.front());
}

Status socketsIn(int netns, int family, int type, size_t count, std::vector<UniqueFd>& out,
                 int protocol) {
  const int flags = type | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const int home = netns < 0 ? -1 : homeNetns();
  if (netns >= 0 && ::setns(netns, CLONE_NEWNET) != 0) {
    return Status::fromErrno("setns", errno);
  }
  int error = 0;
  const size_t before = out.size();
  for (size_t i = 0; i < count && error == 0; i++) {
    UniqueFd fd(::socket(family, flags, protocol));
    if (fd) {
      out.push_back(std::move(fd));
    } else {
      error = errno;
    }
  }
  if (netns >= 0) {
    CHECK(::setns(home, CLONE_NEWNET) == 0);
  }
  return out.size() > before ? Status{} : Status::fromErrno("socket", error);
}

Result<uint64_t> netnsCookie(int netns) {
  const Result<UniqueFd> any = socketIn(netns, AF_INET, SOCK_DGRAM);
  if (!any.ok()) {
    return any.status();
  }
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(any.value().get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0) {
    return Status::fromErrno("SO_NETNS_COOKIE", errno);
  }
  return cookie;
}

Status checkNetns(int fd) {
  if (::ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
    return {Code::kInvalid, "the descriptor is no network namespace"};
  }
  return {};
}

}  // namespace weft::io
