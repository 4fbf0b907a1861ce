// SPDX-License-Identifier: Apache-2.0
// The program that says who takes a connection, run by BPF_PROG_TEST_RUN: as it stands in a pod
// that is captured, with tables and listeners as a row of a test wants them.
#pragma once

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <time.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/netns.h"
#include "kernel/bpf.h"
#include "kernel/direct_path.h"
#include "kernel/two_pods.h"

namespace weft::test {

/// A SYN that arrives.
struct Arrival {
  Endpoint remote;
  Endpoint local;
  int family = AF_INET6;
  uint32_t protocol = IPPROTO_TCP;

  weft_tuple tuple() const {
    return {kernel::toAbi(remote.ip), kernel::toAbi(local.ip), remote.port, local.port};
  }
};

/// Who takes it.
enum class Taker { kWhoListens, kPlaintext, kTunnel, kNobody };

/// The program of pod `b`, on which connections from pod `a` arrive. What a row puts there is gone
/// after clear().
class LookupRun {
 public:
  LookupRun() {
    require(pods_.enrol(pods_.a, true).ok() && pods_.enrol(pods_.b, true).ok());
    path_ = kernel::KernelDirectPath::open(pods_.node.pins()).value();
    const UniqueFd link = kernel::openPinned(pods_.node.pins().pod(pods_.b.netns.cookie)).value();
    bpf_link_info info{};
    uint32_t size = sizeof info;
    require(bpf_link_get_info_by_fd(link.get(), &info, &size) == 0);
    program_ = UniqueFd(bpf_prog_get_fd_by_id(info.prog_id));
    require(program_.get() >= 0);
  }

  const ScratchPod& client() const { return pods_.a; }
  const ScratchPod& own() const { return pods_.b; }
  const kernel::NodeCapture& agent() { return pods_.node.agent(); }
  /// What a pod's time is told in.
  static uint64_t nowNs() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  }

  /// The proxy listens; with AF_INET for connections of IPv4 alone.
  void listen(uint16_t port, int family = AF_INET6) {
    UniqueFd listener = io::socketIn(own().netns.fd.get(), family, SOCK_STREAM).value();
    require(::listen(listener.get(), 1) == 0);
    require(pods_.node.proxy().of(own().netns.fd.get())->serve(listener.get(), port).ok());
    listeners_[port == 15008 ? 1 : 0] = std::move(listener);
  }
  /// It listens, but has not said for too long that it lives.
  void hang() { pods_.node.hang(); }
  /// A connection that may pass into `pod`, and was allowed to so long ago.
  void pass(const ScratchPod& pod, const weft_tuple& tuple, uint64_t ageNs = 0) {
    put("weft_passes", pod.netns.cookie, tuple, weft_pass{nowNs() - ageNs, 1});
  }
  /// A direct connection of the client.
  void direct(const weft_tuple& tuple, const weft_direct& direct) {
    put("weft_directs", client().netns.cookie, tuple, direct);
  }
  /// What policy says of connections of the client.
  void say(std::vector<io::DirectVerdict> verdicts) {
    require(path_->publish(own().netns.cookie, verdicts).ok());
  }
  /// An address is that namespace's.
  void give(const Ip& ip, uint64_t netns) {
    const UniqueFd map = pinned("weft_addresses");
    const weft_ip key = kernel::toAbi(ip);
    const weft_address owner{netns};
    require(bpf_map_update_elem(map.get(), &key, &owner, BPF_ANY) == 0);
    given_.push_back(ip);
  }

  void clear() {
    pods_.node.proxy().beat();
    path_->withdraw(own().netns.cookie);
    for (UniqueFd& listener : listeners_) {
      listener = UniqueFd();
    }
    for (const auto& [table, tuple] : entries_) {
      bpf_map_delete_elem(table.get(), &tuple);
    }
    entries_.clear();
    const auto changed = std::exchange(given_, {});
    for (const ScratchPod* pod : {&client(), &own()}) {
      for (const Ip& ip : pod->addresses) {
        if (!changed.empty()) {
          give(ip, pod->netns.cookie);
        }
      }
    }
    given_.clear();
  }

  /// Runs the program.
  Taker run(const Arrival& arrival) {
    bpf_sk_lookup context = contextOf(arrival);
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
    options.ctx_out = &context;
    options.ctx_size_out = sizeof context;
    require(bpf_prog_test_run_opts(program_.get(), &options) == 0);
    if (options.retval == SK_DROP) {
      return Taker::kNobody;
    }
    if (context.cookie == 0) {
      return Taker::kWhoListens;
    }
    require(context.cookie == cookieOf(listeners_[0]) || context.cookie == cookieOf(listeners_[1]));
    return context.cookie == cookieOf(listeners_[0]) ? Taker::kPlaintext : Taker::kTunnel;
  }

 private:
  static void require(bool ok) {
    if (!ok) {
      std::fprintf(stderr, "a run of sk_lookup: %s\n", std::strerror(errno));
      std::abort();
    }
  }
  static uint64_t cookieOf(const UniqueFd& socket) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return ::getsockopt(socket.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
  }
  static bpf_sk_lookup contextOf(const Arrival& arrival) {
    bpf_sk_lookup context{};
    context.family = static_cast<uint32_t>(arrival.family);
    context.protocol = arrival.protocol;
    const weft_tuple tuple = arrival.tuple();
    if (arrival.family == AF_INET) {
      context.remote_ip4 = tuple.remote.words[3];
      context.local_ip4 = tuple.local.words[3];
    } else {
      std::memcpy(context.remote_ip6, &tuple.remote, sizeof context.remote_ip6);
      std::memcpy(context.local_ip6, &tuple.local, sizeof context.local_ip6);
    }
    context.remote_port = htons(arrival.remote.port);
    context.local_port = arrival.local.port;
    return context;
  }
  UniqueFd pinned(const char* map) {
    return kernel::openPinned(pods_.node.pins().map(map)).value();
  }
  template <typename Value>
  void put(const char* map, uint64_t netns, const weft_tuple& tuple, const Value& value) {
    uint32_t id = 0;
    require(bpf_map_lookup_elem(pinned(map).get(), &netns, &id) == 0);
    UniqueFd table(bpf_map_get_fd_by_id(id));
    require(bpf_map_update_elem(table.get(), &tuple, &value, BPF_ANY) == 0);
    entries_.emplace_back(std::move(table), tuple);
  }

  TwoPods pods_;
  std::unique_ptr<kernel::KernelDirectPath> path_;
  UniqueFd program_;
  UniqueFd listeners_[2];
  std::vector<std::pair<UniqueFd, weft_tuple>> entries_;
  std::vector<Ip> given_;
};

}  // namespace weft::test
