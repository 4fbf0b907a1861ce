// SPDX-License-Identifier: Apache-2.0
#include "kernel/probe_scratch.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "io/sys.h"

namespace weft::kernel {
namespace {

constexpr int kWaitMs = 2000;
constexpr int kBacklog = 8;
constexpr mode_t kFolderMode = 0755;
constexpr size_t kV4At = 12;

Status raiseLoopback() {
  const UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP;
  return any && ::ioctl(any.get(), SIOCSIFFLAGS, &request) == 0
             ? Status{}
             : Status::fromErrno("raise the loopback", errno);
}

Status enterNetns(UniqueFd& out) {
  if (::unshare(CLONE_NEWNET) != 0) {
    return Status::fromErrno("make a network namespace", errno);
  }
  out = UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  return out ? raiseLoopback() : Status::fromErrno("open the network namespace", errno);
}

Status enterCgroup(const std::string& folder, UniqueFd& out) {
  if (folder.empty()) {
    return {Code::kUnavailable, "cgroup v2 is not mounted"};
  }
  if (::mkdir(folder.c_str(), kFolderMode) != 0) {
    return Status::fromErrno(("mkdir " + folder).c_str(), errno);
  }
  const std::string processes = folder + "/cgroup.procs";
  const UniqueFd file(::open(processes.c_str(), O_WRONLY | O_CLOEXEC));
  // 0 is the process that writes it.
  if (!file || ::write(file.get(), "0", 1) != 1) {
    return Status::fromErrno(("enter " + folder).c_str(), errno);
  }
  out = UniqueFd(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  return out ? Status{} : Status::fromErrno(folder.c_str(), errno);
}

UniqueFd socketFor(const Ip& ip, int type) {
  return UniqueFd(::socket(ip.isV4() ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

bool wait(int fd, short events) {
  pollfd one{fd, events, 0};
  return ::poll(&one, 1, kWaitMs) == 1;
}

}  // namespace

ProbeScratch enterScratch(const std::string& cgroup) {
  ProbeScratch scratch;
  scratch.netnsStatus = enterNetns(scratch.netns);
  scratch.cgroupStatus = enterCgroup(cgroup, scratch.cgroup);
  return scratch;
}

FamilyAddress::FamilyAddress(const Endpoint& endpoint) {
  if (endpoint.ip.isV4()) {
    auto& in = reinterpret_cast<sockaddr_in&>(raw_);
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    std::memcpy(&in.sin_addr, endpoint.ip.bytes.data() + kV4At, sizeof in.sin_addr);
    size_ = sizeof in;
  } else {
    reinterpret_cast<sockaddr_in6&>(raw_) = endpoint.toSockaddr();
    size_ = sizeof(sockaddr_in6);
  }
}

Result<BoundSocket> bindAt(const Ip& ip, int type) {
  BoundSocket made;
  made.fd = socketFor(ip, type);
  const FamilyAddress wanted({ip, 0});
  if (!made.fd || ::bind(made.fd.get(), wanted.get(), wanted.size()) != 0 ||
      (type == SOCK_STREAM && ::listen(made.fd.get(), kBacklog) != 0)) {
    return Status::fromErrno(("bind to " + ip.toString()).c_str(), errno);
  }
  const auto local = io::localEndpoint(made.fd.get());
  if (!local.has_value()) {
    return Status::fromErrno("getsockname", errno);
  }
  made.local = *local;
  return made;
}

Connected connectTo(const Endpoint& to) {
  Connected made;
  made.fd = socketFor(to.ip, SOCK_STREAM);
  const FamilyAddress address(to);
  if (!made.fd ||
      (::connect(made.fd.get(), address.get(), address.size()) != 0 && errno != EINPROGRESS)) {
    made.error = errno;
    return made;
  }
  socklen_t size = sizeof made.error;
  if (!wait(made.fd.get(), POLLOUT)) {
    made.error = ETIMEDOUT;
  } else if (::getsockopt(made.fd.get(), SOL_SOCKET, SO_ERROR, &made.error, &size) != 0) {
    made.error = errno;
  }
  return made;
}

bool isReadable(int fd) {
  return wait(fd, POLLIN);
}

Ip nowhere(bool isV4) {
  return Ip::parse(isV4 ? "192.0.2.1" : "2001:db8::1").value_or(Ip{});
}

Ip loopback(bool isV4) {
  return Ip::parse(isV4 ? "127.0.0.1" : "::1").value_or(Ip{});
}

}  // namespace weft::kernel
