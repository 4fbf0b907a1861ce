// SPDX-License-Identifier: Apache-2.0
// The probe takes its process away, so each one is done by a child.
#include "kernel/probe.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <string>

#include "kernel/foreign_programs.h"

using weft::kernel::Feature;

namespace {

/// The reasons by name, as a child found them; empty ones for what works.
std::map<std::string, std::string> probeInChild(const std::string& cgroup) {
  int ends[2] = {};
  REQUIRE(::pipe(ends) == 0);
  // What is still to be written would be written by both.
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text;
    for (const Feature& each : weft::kernel::probeKernel(cgroup)) {
      text += each.name + "\t" + each.status.message().substr(0, 60) + "\n";
    }
    const bool isWritten = ::write(ends[1], text.data(), text.size()) > 0;
    ::_exit(isWritten ? 0 : 1);
  }
  ::close(ends[1]);
  std::string all;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    all.append(buffer, static_cast<size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  std::map<std::string, std::string> reasons;
  for (size_t at = 0; at < all.size();) {
    const size_t tab = all.find('\t', at);
    const size_t end = all.find('\n', tab);
    reasons[all.substr(at, tab - at)] = all.substr(tab + 1, end - tab - 1);
    at = end + 1;
  }
  return reasons;
}

std::string cgroupRoot() {
  std::ifstream mounts("/proc/mounts");
  for (std::string device, place, type, rest; mounts >> device >> place >> type;) {
    std::getline(mounts, rest);
    if (type == "cgroup2") {
      return place;
    }
  }
  return "";
}

}  // namespace

TEST_CASE("what needs a cgroup says that there is none, and only that does") {
  if (::getuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  std::map<std::string, std::string> reasons = probeInChild("");
  CHECK(reasons.size() == 23);
  CHECK(reasons.at("connect4") == "cgroup v2 is not mounted");
  CHECK(reasons.at("sockops") == "cgroup v2 is not mounted");
  CHECK(reasons.at("sk_lookup").empty());
  CHECK(reasons.at("sock_destroy").empty());
  reasons = probeInChild("/proc/weft");
  CHECK(reasons.at("connect4").starts_with("mkdir /proc/weft: "));
}

TEST_CASE("everything works in a cgroup of version 2") {
  const std::string root = cgroupRoot();
  if (::getuid() != 0 || root.empty()) {
    MESSAGE("skipped: needs root and cgroup v2");
    return;
  }
  const std::string folder = root + "/weft-probe-unit-" + std::to_string(::getpid());
  for (const auto& [name, reason] : probeInChild(folder)) {
    INFO(name);
    if (name == "iter_sockmap" &&
        reason.starts_with("load try_iter_sockmap: Operation not permitted")) {
      MESSAGE("not asked of this kernel: ", reason);  // some refuse any such program
      continue;
    }
    CHECK(reason == "");
  }
  CHECK(::rmdir(folder.c_str()) == 0);
}

TEST_CASE("programs of others are looked for in what is a cgroup") {
  CHECK_FALSE(weft::kernel::foreignPrograms("/nowhere").ok());
  if (::getuid() == 0) {
    CHECK_FALSE(weft::kernel::foreignPrograms("/proc").ok());
    CHECK((cgroupRoot().empty() || weft::kernel::foreignPrograms(cgroupRoot()).ok()));
  }
}
