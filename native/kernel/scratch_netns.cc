// SPDX-License-Identifier: Apache-2.0
#include "kernel/scratch_netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace weft::kernel {
namespace {

Status raiseLoopback() {
  const UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (!any || ::ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) {
    return Status::fromErrno("raise the loopback", errno);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ScratchNetns>> ScratchNetns::enter() {
  UniqueFd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home) {
    return Status::fromErrno("/proc/thread-self/ns/net", errno);
  }
  if (::unshare(CLONE_NEWNET) != 0) {
    return Status::fromErrno("make a network namespace", errno);
  }
  std::unique_ptr<ScratchNetns> made(new ScratchNetns(std::move(home)));
  if (Status status = raiseLoopback(); !status.ok()) {
    return status;
  }
  return made;
}

ScratchNetns::~ScratchNetns() {
  CHECK(::setns(home_.get(), CLONE_NEWNET) == 0);
}

}  // namespace weft::kernel
