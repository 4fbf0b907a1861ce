// SPDX-License-Identifier: Apache-2.0
#include "kernel/probe.h"

#include <functional>
#include <thread>
#include <utility>

#include "kernel/probe_hooks.h"
#include "kernel/probe_scratch.h"
#include "kernel/probe_sockets.h"

namespace weft::kernel {
namespace {

using InFamily = Status (*)(const ProbeScratch&, bool isV4);
using InScratch = Status (*)(const ProbeScratch&);

constexpr std::pair<const char*, InFamily> kOfFamilies[] = {
    {"connect", tryConnect}, {"getpeername", tryPeerName}, {"getsockname", tryOwnName},
    {"sendmsg", trySend},    {"recvmsg", tryReceive},
};

constexpr std::pair<const char*, InScratch> kOthers[] = {
    {"sockops", trySockops},      {"sock_release", tryRelease},   {"netns_cookie", tryNetnsCookie},
    {"ringbuf", tryRing},         {"set_retval", tryRetval},      {"sk_lookup", tryLookup},
    {"sock_destroy", tryDestroy}, {"iter_tcp", tryIterator},      {"iter_sockmap", tryMapIterator},
    {"sk_msg", tryMessages},      {"link_cgroup", tryCgroupLink}, {"link_netns", tryNetnsLink},
};

void tryAll(const std::string& cgroup, std::vector<Feature>& out) {
  const ProbeScratch scratch = enterScratch(cgroup);
  for (const auto& [name, attempt] : kOfFamilies) {
    out.push_back({std::string(name) + "4", attempt(scratch, true)});
    out.push_back({std::string(name) + "6", attempt(scratch, false)});
  }
  for (const auto& [name, attempt] : kOthers) {
    out.push_back({name, attempt(scratch)});
  }
  out.push_back({"btf", tryTypes()});
}

}  // namespace

std::vector<Feature> probeKernel(const std::string& cgroup) {
  std::vector<Feature> features;
  std::thread([&] { tryAll(cgroup, features); }).join();
  return features;
}

}  // namespace weft::kernel
