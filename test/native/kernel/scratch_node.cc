// SPDX-License-Identifier: Apache-2.0
#include "kernel/scratch_node.h"

#include <bpf/bpf.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

namespace weft::test {
namespace {

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

/// Where cgroup v2 is mounted, alone or beside the first version.
std::string cgroupRoot() {
  std::ifstream mounts("/proc/self/mounts");
  std::string device;
  std::string folder;
  std::string type;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream(line) >> device >> folder >> type;
    if (type == "cgroup2") {
      return folder;
    }
  }
  fail("cgroup v2 is not mounted");
}

/// The folder of the cgroup v2 that this process is in.
std::string ownCgroup() {
  constexpr std::string_view kVersion2 = "0::";
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with(kVersion2)) {
      return cgroupRoot() + line.substr(kVersion2.size());
    }
  }
  fail("this process is in no cgroup v2");
}

void enter(const std::string& cgroup) {
  std::ofstream processes(cgroup + "/cgroup.procs");
  processes << ::getpid() << std::flush;
  if (!processes) {
    fail("enter " + cgroup + ": " + std::strerror(errno));
  }
}

std::string temporaryFolder() {
  std::string name = "/tmp/weft-unit-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) {
    fail(name + ": " + std::strerror(errno));
  }
  return name;
}

void makeCgroup(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0755) != 0) {
    fail(folder + ": " + std::strerror(errno));
  }
}

}  // namespace

bool hasRoot() {
  const bool yes = ::geteuid() == 0;
  if (!yes) {
    std::printf("# not run: programs for the kernel need root\n");
  }
  return yes;
}

ScratchPins::ScratchPins() : pins_(temporaryFolder()) {
  if (const Status made = pins_.make(); !made.ok()) {
    fail(made.message());
  }
}

ScratchPins::~ScratchPins() {
  static_cast<void>(pins_.remove());
}

std::string ScratchNode::folderOf(Role role) const {
  switch (role) {
    case Role::kApplication:
      return top_ + "/apps";
    case Role::kProxy:
      return top_ + "/proxy";
    case Role::kKubelet:
      return top_ + "/kubelet";
  }
  fail("no such role");
}

ScratchNode::ScratchNode()
    : home_(ownCgroup()),
      top_(cgroupRoot() + "/weft-unit-" + std::to_string(::getpid())),
      options_{pins_->root(), top_, folderOf(Role::kProxy), folderOf(Role::kKubelet)} {
  makeCgroup(top_);
  for (const Role role : {Role::kApplication, Role::kProxy, Role::kKubelet}) {
    makeCgroup(folderOf(role));
  }
  auto opened = kernel::NodeCapture::open(options_);
  if (!opened.ok()) {
    fail(opened.status().message());
  }
  agent_ = std::move(opened).value();
  proxy_ = std::make_unique<kernel::KernelCaptures>(options_.pins);
  be(Role::kApplication);
}

ScratchNode::~ScratchNode() {
  static_cast<void>(kernel::NodeCapture::uninstall(options_.pins));
  enter(home_);
  for (const Role role : {Role::kApplication, Role::kProxy, Role::kKubelet}) {
    ::rmdir(folderOf(role).c_str());
  }
  ::rmdir(top_.c_str());
}

void ScratchNode::be(Role role) const {
  enter(folderOf(role));
}

void ScratchNode::hang() const {
  const kernel::Pins& places = *pins_;
  const auto heartbeat = kernel::openPinned(places.map("weft_heartbeat"));
  if (!heartbeat.ok()) {
    fail(heartbeat.status().message());
  }
  const uint32_t zero = 0;
  const uint64_t firstNs = 1;  // since the machine started
  if (bpf_map_update_elem(heartbeat.value().get(), &zero, &firstNs, BPF_ANY) != 0) {
    fail(std::string("weft_heartbeat: ") + std::strerror(errno));
  }
  const timespec stale{WEFT_STALE_NS / 1'000'000'000, 1'000'000};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &stale, nullptr) == EINTR) {
  }
}

std::map<std::string, uint64_t> CounterSteps::take() {
  std::map<std::string, uint64_t> steps;
  std::map<std::string, uint64_t> now = node_.counters();
  for (const auto& [name, count] : now) {
    if (count != before_[name]) {
      steps[name] = count - before_[name];
    }
  }
  before_ = std::move(now);
  return steps;
}

}  // namespace weft::test
