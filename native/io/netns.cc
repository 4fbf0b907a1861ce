// SPDX-License-Identifier: Apache-2.0
#include "io/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

namespace weft::io {
namespace {

/// The namespace this thread was born in.
int homeNetns() {
  static thread_local const UniqueFd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  CHECK(home.get() >= 0);
  return home.get();
}

}  // namespace

Result<UniqueFd> socketIn(int netns, int family, int type) {
  const int flags = type | SOCK_NONBLOCK | SOCK_CLOEXEC;
  if (netns < 0) {
    UniqueFd fd(::socket(family, flags, 0));
    return fd ? Result<UniqueFd>(std::move(fd)) : Status::fromErrno("socket", errno);
  }
  const int home = homeNetns();
  if (::setns(netns, CLONE_NEWNET) != 0) {
    return Status::fromErrno("setns", errno);
  }
  UniqueFd fd(::socket(family, flags, 0));
  const int error = errno;
  CHECK(::setns(home, CLONE_NEWNET) == 0);
  return fd ? Result<UniqueFd>(std::move(fd)) : Status::fromErrno("socket", error);
}

Status checkNetns(int fd) {
  if (::ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
    return {Code::kInvalid, "the descriptor is no network namespace"};
  }
  return {};
}

}  // namespace weft::io
