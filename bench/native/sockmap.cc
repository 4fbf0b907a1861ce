// SPDX-License-Identifier: Apache-2.0
// What data between two pods of one node costs by each way: over a bare cable, as a direct
// connection, in the sockmap tier (no gate is asked), and in it while TCP carries the data. One
// line of JSON for each sample:
//   bench_sockmap ROUNDS TRIPS      so many rounds of all ways, of so many round trips each
// Threads wait in poll(), as event loops do. A thread of lowest priority keeps each processor
// awake, which would otherwise be most of what is measured on an idle virtual machine.

#include <bpf/bpf.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "hook_stats.h"
#include "kernel/direct_path.h"
#include "kernel/sockmap_tier.h"
#include "kernel/two_pods.h"

namespace {

using weft::UniqueFd;
using weft::bench::need;
using weft::kernel::KernelDirectPath;
using weft::kernel::SockmapTier;
using weft::test::Accepted;
using weft::test::Attempt;
using weft::test::ScratchPod;
using weft::test::Spelling;
using weft::test::TwoPods;

constexpr uint16_t kApp = 8080;
constexpr uint64_t kForEver = std::numeric_limits<uint64_t>::max();
constexpr size_t kChunk = 65536;
constexpr size_t kBulk = size_t{1} << 29;
constexpr int kWarm = 500;
constexpr size_t kSizes[] = {64, 1024, 16384};

double nowMicros() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

void pinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  need(pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0, "pin a thread");
}

/// Keeps both processors from sleeping.
class Awake {
 public:
  Awake() {
    for (int cpu = 0; cpu < 2; cpu++) {
      threads_.emplace_back([this, cpu] {
        pinTo(cpu);
        const sched_param none{};
        need(sched_setscheduler(0, SCHED_IDLE, &none) == 0, "SCHED_IDLE");
        while (!stop_.load(std::memory_order_relaxed)) {
        }
      });
    }
  }
  ~Awake() {
    stop_ = true;
    for (std::thread& each : threads_) {
      each.join();
    }
  }

 private:
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

void waitFor(int fd, short events) {
  pollfd wanted{fd, events, 0};
  need(::poll(&wanted, 1, 10'000) == 1, "a socket that is ready");
}

void sendAll(int fd, const std::vector<char>& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else {
      need(errno == EAGAIN, "send");
      waitFor(fd, POLLOUT);
    }
  }
}

/// False at the end of the stream.
bool receiveAll(int fd, std::vector<char>& bytes) {
  for (size_t got = 0; got < bytes.size();) {
    waitFor(fd, POLLIN);
    const ssize_t n = ::recv(fd, bytes.data() + got, bytes.size() - got, 0);
    if (n == 0) {
      return false;
    }
    need(n > 0 || errno == EAGAIN, "receive");
    got += n > 0 ? static_cast<size_t>(n) : 0;
  }
  return true;
}

struct Ends {
  UniqueFd client;
  UniqueFd server;
};

/// The time of each round trip in microseconds, sorted.
std::vector<double> roundTrips(const Ends& ends, size_t size, int trips, int serverCpu) {
  std::thread server([&] {
    pinTo(serverCpu);
    std::vector<char> bytes(size);
    for (int i = 0; i < trips + kWarm; i++) {
      receiveAll(ends.server.get(), bytes);
      sendAll(ends.server.get(), bytes);
    }
  });
  pinTo(0);
  std::vector<char> bytes(size, 'x');
  std::vector<double> times;
  for (int i = 0; i < trips + kWarm; i++) {
    const double start = nowMicros();
    sendAll(ends.client.get(), bytes);
    receiveAll(ends.client.get(), bytes);
    if (i >= kWarm) {
      times.push_back(nowMicros() - start);
    }
  }
  server.join();
  std::sort(times.begin(), times.end());
  return times;
}

/// In Gbit/s.
double bulk(const Ends& ends, int serverCpu) {
  std::thread server([&] {
    pinTo(serverCpu);
    std::vector<char> bytes(kChunk);
    for (size_t got = 0; got < kBulk; got += kChunk) {
      receiveAll(ends.server.get(), bytes);
    }
    sendAll(ends.server.get(), {'x'});
  });
  pinTo(0);
  const std::vector<char> bytes(kChunk, 'x');
  const double start = nowMicros();
  for (size_t sent = 0; sent < kBulk; sent += kChunk) {
    sendAll(ends.client.get(), bytes);
  }
  std::vector<char> answer(1);
  receiveAll(ends.client.get(), answer);
  const double seconds = (nowMicros() - start) * 1e-6;
  server.join();
  return static_cast<double>(kBulk) * 8e-9 / seconds;
}

/// Two pods with the tier, and two that are in no mesh.
struct Node : TwoPods {
  ScratchPod bareA{weft::test::makeNetNamespace(),
                   {*weft::Ip::parse("10.98.0.1"), *weft::Ip::parse("fd98::1")}};
  ScratchPod bareB{weft::test::makeNetNamespace(),
                   {*weft::Ip::parse("10.98.0.2"), *weft::Ip::parse("fd98::2")}};
  std::unique_ptr<KernelDirectPath> path;
  std::unique_ptr<SockmapTier> tier;
  UniqueFd app, bareApp, pairs;

  Node() {
    joinByCable(bareA.netns, bareA.addresses, bareB.netns, bareB.addresses);
    for (const ScratchPod* pod : {&a, &b}) {
      need(node.agent()
               .enrol(pod->netns.fd.get(), pod->netns.cookie, pod->addresses, true, true)
               .ok(),
           "enrol a pod");
    }
    path = KernelDirectPath::open(node.pins()).value();
    const weft::io::DirectVerdict verdicts[] = {{a.netns.cookie, kApp, true, kForEver}};
    need(path->publish(b.netns.cookie, verdicts).ok(), "publish a verdict");
    tier = SockmapTier::open(node.options().pins, node.options().cgroup).value();
    pairs = weft::kernel::openPinned(node.pins().map("weft_pairs")).value();
    app = b.listen(kApp);
    bareApp = bareB.listen(kApp);
  }

  static Ends connect(const ScratchPod& from, const ScratchPod& to, const UniqueFd& listener) {
    Attempt client =
        weft::test::connectFrom(from.netns, Spelling::kIpv4, to.at(Spelling::kIpv4, kApp));
    errno = client.error;
    need(client.error == 0, "a connection");
    Accepted server = weft::test::acceptFrom(listener);
    return {std::move(client.socket), std::move(server.socket)};
  }

  Ends bare() const { return connect(bareA, bareB, bareApp); }
  Ends direct() const { return connect(a, b, app); }
  Ends sockmap(bool off) const {
    Ends ends = direct();
    need(tier->promote(a.netns.fd.get()).ok() && tier->promote(b.netns.fd.get()).ok(),
         "take a connection in");
    const weft::Endpoint client = weft::test::nameOf(ends.client);
    const weft::Endpoint server = weft::test::peerOf(ends.client);
    const weft_tuple tuple{weft::kernel::toAbi(client.ip), weft::kernel::toAbi(server.ip),
                           client.port, server.port};
    weft_pair pair{};
    need(bpf_map_lookup_elem(pairs.get(), &tuple, &pair) == 0 && pair.ends[0].cookie != 0 &&
             pair.ends[1].cookie != 0,
         "a connection in the tier");
    pair.off = off ? 1 : 0;
    need(bpf_map_update_elem(pairs.get(), &tuple, &pair, BPF_EXIST) == 0, "a connection by TCP");
    return ends;
  }
};

void measure(int rounds, int trips) {
  const Node node;
  const Awake awake;
  const char* const ways[] = {"bare", "direct", "sockmap", "sockmap by TCP"};
  const auto open = [&](int way) {
    return way == 0 ? node.bare() : way == 1 ? node.direct() : node.sockmap(way == 3);
  };
  for (int round = 0; round < rounds; round++) {
    for (int serverCpu : {1, 0}) {
      for (int way = 0; way < 4; way++) {
        for (const size_t size : kSizes) {
          const std::vector<double> times = roundTrips(open(way), size, trips, serverCpu);
          std::printf(
              "{\"way\": \"%s\", \"cpus\": %d, \"bytes\": %zu, \"p50\": %.2f, "
              "\"p99\": %.2f}\n",
              ways[way], serverCpu + 1, size, times[times.size() / 2],
              times[times.size() * 99 / 100]);
        }
        std::printf("{\"way\": \"%s\", \"cpus\": %d, \"gbits\": %.2f}\n", ways[way], serverCpu + 1,
                    bulk(open(way), serverCpu));
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "bench_sockmap ROUNDS TRIPS\n");
    return 2;
  }
  measure(std::atoi(argv[1]), std::atoi(argv[2]));
  return 0;
}
