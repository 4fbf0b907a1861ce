// SPDX-License-Identifier: Apache-2.0
#include "io/netns.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

using weft::Code;
using weft::UniqueFd;
using weft::io::checkNetns;
using weft::io::socketIn;

namespace {

UniqueFd ownNamespace() {
  return UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

/// A fresh namespace; nothing, with the reason printed, without the right to make one.
UniqueFd newNamespace() {
  UniqueFd fd;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0) {
      fd = ownNamespace();
    }
  }).join();
  if (!fd) {
    MESSAGE("skipped: a network namespace needs CAP_SYS_ADMIN");
  }
  return fd;
}

ino_t inodeOf(int fd) {
  struct stat at {};
  REQUIRE(::fstat(fd, &at) == 0);
  return at.st_ino;
}

}  // namespace

TEST_CASE("a socket is made in the namespace asked for, and the thread stays where it was") {
  const UniqueFd ns = newNamespace();
  if (!ns) {
    return;
  }
  const ino_t home = inodeOf(ownNamespace().get());
  REQUIRE(inodeOf(ns.get()) != home);
  const auto there = socketIn(ns.get(), AF_INET, SOCK_STREAM);
  REQUIRE(there.ok());
  CHECK(inodeOf(ownNamespace().get()) == home);
  const UniqueFd of(::ioctl(there.value().get(), SIOCGSKNS));
  REQUIRE(of);
  CHECK(inodeOf(of.get()) == inodeOf(ns.get()));
}

TEST_CASE("a socket without a namespace belongs to the thread's own") {
  const auto here = socketIn(-1, AF_INET, SOCK_STREAM);
  REQUIRE(here.ok());
  CHECK((::fcntl(here.value().get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(here.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a socket that cannot be made leaves the thread where it was") {
  const UniqueFd ns = newNamespace();
  if (!ns) {
    return;
  }
  const ino_t home = inodeOf(ownNamespace().get());
  CHECK(socketIn(ns.get(), AF_INET, 99).status().code() == Code::kInternal);
  CHECK(inodeOf(ownNamespace().get()) == home);
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK_FALSE(socketIn(null.get(), AF_INET, SOCK_STREAM).ok());
  CHECK(inodeOf(ownNamespace().get()) == home);
}

TEST_CASE("only a network namespace passes for one") {
  CHECK(checkNetns(ownNamespace().get()).ok());
  for (const char* path : {"/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/user", "/"}) {
    const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
    CHECK(checkNetns(fd.get()).code() == Code::kInvalid);
  }
  CHECK(checkNetns(-1).code() == Code::kInvalid);
}
