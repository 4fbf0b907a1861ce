// SPDX-License-Identifier: Apache-2.0
// Connections past TCP, with real sockets and the kernel's programs. No gate is asked. What a
// kernel may get wrong is compared with its gate: they must agree. Needs root.
// Long, since its cases share one pair of connections, and the ways to move data over it.
#include "kernel/sockmap.h"

#include <bpf/bpf.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernel/scratch_node.h"
#include "kernel/sockmap_gates.h"
#include "kernel/sockmap_rig.h"
#include "kernel/sockmap_trials.h"

using weft::Result;
using weft::UniqueFd;
using weft::kernel::SockmapRig;
using Ends = SockmapRig::Ends;

namespace {

constexpr int kWaitMs = 5000;

/// A rig, or nothing where there can be none, which is printed.
std::unique_ptr<SockmapRig> rigOf(const char* address = "127.0.0.1") {
  if (!weft::test::hasRoot()) {
    return nullptr;
  }
  Result<std::unique_ptr<SockmapRig>> rig = SockmapRig::open(address);
  INFO(rig.status().message());
  REQUIRE(rig.ok());
  return std::move(rig).value();
}

Ends pairOf(const SockmapRig& rig) {
  Result<Ends> ends = rig.pair();
  INFO(ends.status().message());
  REQUIRE(ends.ok());
  return std::move(ends).value();
}

uint64_t count(const SockmapRig& rig, const char* name) {
  return rig.counters().at(name);
}

bool isReady(const UniqueFd& fd, short events) {
  pollfd wanted{fd.get(), events, 0};
  return ::poll(&wanted, 1, kWaitMs) == 1;
}

void say(const UniqueFd& fd, const std::string& text, int flags = 0) {
  REQUIRE(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL | flags) ==
          static_cast<ssize_t>(text.size()));
}

/// That many bytes, or those until the stream ends or breaks.
std::string hear(const UniqueFd& fd, size_t most) {
  std::string heard;
  std::array<char, 65536> bytes{};
  while (heard.size() < most && isReady(fd, POLLIN)) {
    const ssize_t n =
        ::recv(fd.get(), bytes.data(), std::min(bytes.size(), most - heard.size()), 0);
    if (n > 0) {
      heard.append(bytes.data(), static_cast<size_t>(n));
    } else if (n == 0 || errno != EAGAIN) {
      break;
    }
  }
  return heard;
}

/// The result of recv() once there is one.
ssize_t recvOne(const UniqueFd& fd, int& error) {
  char byte = 0;
  isReady(fd, POLLIN);
  const ssize_t n = ::recv(fd.get(), &byte, 1, 0);
  error = n < 0 ? errno : 0;
  return n;
}

void setBlocking(const UniqueFd& fd) {
  REQUIRE(::fcntl(fd.get(), F_SETFL, 0) == 0);
}

uint8_t patternAt(uint64_t seed, uint64_t offset) {
  return static_cast<uint8_t>(((seed + offset) * 2654435761U) >> 13);
}

/// Writes `total` bytes in pieces of any size, now and then of few bytes, then FIN.
void writePieces(int fd, uint64_t seed, uint64_t total) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> piece;
  for (uint64_t at = 0; at < total;) {
    const uint64_t most = random() % 3 == 0 ? 200 : 200000;
    piece.resize(std::min(random() % most + 1, total - at));
    for (size_t i = 0; i < piece.size(); i++) {
      piece[i] = patternAt(seed, at + i);
    }
    for (size_t done = 0; done < piece.size();) {
      pollfd wanted{fd, POLLOUT, 0};
      ::poll(&wanted, 1, kWaitMs);
      const ssize_t n = ::send(fd, piece.data() + done, piece.size() - done, MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) {
        return;
      }
      done += n > 0 ? static_cast<size_t>(n) : 0;
    }
    at += piece.size();
  }
  ::shutdown(fd, SHUT_WR);
}

/// Reads to the end in pieces of any size; how many bytes were as they were sent, in order.
uint64_t readPieces(int fd, uint64_t seed, uint64_t pauseEvery) {
  std::mt19937_64 random(seed + 1);
  std::vector<uint8_t> into(300000);
  uint64_t right = 0;
  for (uint64_t turn = 1;; turn++) {
    pollfd wanted{fd, POLLIN, 0};
    // Reads late now and then, so that the sender runs ahead of it.
    const bool pause = pauseEvery != 0 && turn % pauseEvery == 0;
    pollfd never{-1, 0, 0};
    if (pause) {
      ::poll(&never, 1, 2);
    }
    if (::poll(&wanted, 1, kWaitMs) != 1) {
      return right;
    }
    const ssize_t n = ::recv(fd, into.data(), random() % into.size() + 1, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
      return right;
    }
    for (ssize_t i = 0; i < n; i++, right++) {
      if (into[static_cast<size_t>(i)] != patternAt(seed, right)) {
        return right;
      }
    }
  }
}

struct Duplex {
  uint64_t toServer = 0;
  uint64_t toClient = 0;
};

/// Both ends write and read at once; `meanwhile` is called again and again until both have read
/// all.
Duplex talk(const Ends& ends, uint64_t seed, uint64_t total, uint64_t pauseEvery,
            const std::function<void()>& meanwhile = nullptr) {
  Duplex right;
  const int client = ends.client.get();
  const int server = ends.server.get();
  std::thread writers[] = {std::thread([&] { writePieces(client, seed, total); }),
                           std::thread([&] { writePieces(server, seed + 7, total); })};
  std::atomic<int> reading = 2;
  std::thread readers[] = {std::thread([&] {
                             right.toServer = readPieces(server, seed, pauseEvery);
                             reading--;
                           }),
                           std::thread([&] {
                             right.toClient = readPieces(client, seed + 7, pauseEvery);
                             reading--;
                           })};
  while (meanwhile != nullptr && reading > 0) {
    meanwhile();
  }
  for (std::thread* group : {writers, readers}) {
    group[0].join();
    group[1].join();
  }
  return right;
}

}  // namespace

TEST_CASE("data of an enrolled connection goes past TCP, by each family") {
  for (const char* address : {"127.0.0.1", "::1", "::ffff:127.0.0.1"}) {
    INFO(address);
    const auto rig = rigOf(address);
    if (rig == nullptr) {
      return;
    }
    const Ends ends = pairOf(*rig);
    CHECK(count(*rig, "sockmap_enrolled") == 2);
    say(ends.client, "to the server");
    CHECK(hear(ends.server, 13) == "to the server");
    say(ends.server, "and back");
    CHECK(hear(ends.client, 8) == "and back");
    CHECK(count(*rig, "sockmap_redirected_bytes") == 21);
    const weft_pair known = rig->known(ends);
    CHECK(known.redirected[WEFT_CLIENT] == 13);
    CHECK(known.redirected[WEFT_SERVER] == 8);
    CHECK(known.off == 0);
    tcp_info info{};
    socklen_t size = sizeof info;
    REQUIRE(::getsockopt(ends.server.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
    CHECK(info.tcpi_segs_in <= 2);  // the handshake's alone
  }
}

TEST_CASE("only connections that were published are enrolled, and sockets that fit") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  Result<Ends> unknown = rig->connect();
  REQUIRE(unknown.ok());
  REQUIRE(rig->promote().ok());
  CHECK(count(*rig, "sockmap_enrolled") == 0);

  // One end that may block keeps both with TCP.
  setBlocking(unknown.value().server);
  REQUIRE(rig->enrol(unknown.value()).ok());
  CHECK(count(*rig, "sockmap_enrolled") == 1);
  CHECK(count(*rig, "sockmap_refused_blocking") == 1);
  say(unknown.value().client, "by TCP");
  CHECK(hear(unknown.value().server, 6) == "by TCP");
  CHECK(count(*rig, "sockmap_redirected_bytes") == 0);

  // And when it does so later it is found at the next switch.
  const Ends later = pairOf(*rig);
  setBlocking(later.server);
  say(later.client, "by TCP, too");
  CHECK(hear(later.server, 11) == "by TCP, too");
  CHECK(count(*rig, "sockmap_off_blocking") == 1);
  CHECK(rig->known(later).off == 1);
}

TEST_CASE("a connection of MPTCP is not enrolled") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
  UniqueFd probe(::socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP));
  if (!probe) {
    std::printf("# not run: this kernel has no MPTCP\n");
    return;
  }
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof any;
  REQUIRE(::bind(probe.get(), reinterpret_cast<sockaddr*>(&any), size) == 0);
  REQUIRE(::listen(probe.get(), 1) == 0);
  REQUIRE(::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&any), &size) == 0);
  Ends ends;
  ends.client = UniqueFd(::socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP));
  REQUIRE(::connect(ends.client.get(), reinterpret_cast<sockaddr*>(&any), size) == 0);
  ends.server = UniqueFd(::accept4(probe.get(), nullptr, nullptr, SOCK_NONBLOCK));
  REQUIRE(::fcntl(ends.client.get(), F_SETFL, O_NONBLOCK) == 0);
  REQUIRE(rig->enrol(ends).ok());
  CHECK(count(*rig, "sockmap_enrolled") == 0);
}

TEST_CASE("nothing overtakes what was sent by TCP before") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  CHECK(weft::kernel::tryOrder(*rig) == "");
  CHECK(count(*rig, "sockmap_unsettled_bytes") == 3);
}

TEST_CASE("a reader that does not read stops its sender, which loses nothing") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  CHECK(weft::kernel::tryReceiveCharge(*rig) == "");
  CHECK(count(*rig, "sockmap_spilled_bytes") > 0);
}

TEST_CASE("chunks of any size arrive whole and in order, both ways at once") {
  constexpr uint64_t kTotal = 2 << 20;
  for (const uint64_t pauseEvery : {0, 5}) {
    for (const char* address : {"127.0.0.1", "::1"}) {
      const auto rig = rigOf(address);
      if (rig == nullptr) {
        return;
      }
      for (uint64_t seed = 1; seed <= 3; seed++) {
        INFO(address, " ", pauseEvery, " ", seed);
        const Ends ends = pairOf(*rig);
        const Duplex right = talk(ends, seed, kTotal, pauseEvery);
        CHECK(right.toServer == kTotal);
        CHECK(right.toClient == kTotal);
      }
      // It went by both ways, or nothing of the switch was tried.
      CHECK(count(*rig, "sockmap_redirected_bytes") > 0);
      CHECK(count(*rig, "sockmap_spilled_bytes") + count(*rig, "sockmap_unsettled_bytes") > 0);
    }
  }
}

namespace {

/// Takes away the program that decides, and puts it back.
struct Swap {
  int redirects;
  int program;
  uint32_t zero = 0;

  explicit Swap(const SockmapRig& rig)
      : redirects(rig.programs().map("weft_redirects")),
        program(bpf_program__fd(
            bpf_object__find_program_by_name(&rig.programs().object(), "weft_redirect"))) {}
  void away() const { REQUIRE(bpf_map_delete_elem(redirects, &zero) == 0); }
  void back() const { REQUIRE(bpf_map_update_elem(redirects, &zero, &program, BPF_ANY) == 0); }
};

}  // namespace

TEST_CASE("sockets that are enrolled follow the program that decides") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  const Ends ends = pairOf(*rig);
  const Swap swap(*rig);
  say(ends.client, "with it");
  CHECK(count(*rig, "sockmap_redirected_bytes") == 7);
  swap.away();
  say(ends.client, ", without it");
  CHECK(count(*rig, "sockmap_redirected_bytes") == 7);
  swap.back();
  say(ends.client, ", and with it");
  CHECK(hear(ends.server, 32) == "with it, without it, and with it");
  say(ends.client, "again");
  CHECK(hear(ends.server, 5) == "again");
  CHECK(count(*rig, "sockmap_redirected_bytes") == 12);
  CHECK(count(*rig, "sockmap_unsettled_bytes") == 13);
}

TEST_CASE("the program that decides is replaced, and taken away, while data flows") {
  constexpr uint64_t kTotal = 2 << 20;
  constexpr int kSwaps = 20;
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  const Swap swap(*rig);
  // Each waits for the kernel, and there is time for few of them before all is read.
  uint64_t seed = 0;
  for (int swaps = 0; swaps < kSwaps; seed++) {
    REQUIRE(seed < 10 * kSwaps);
    const Ends ends = pairOf(*rig);
    // Later it may be TCP's all the time: it is whenever its reader is behind.
    say(ends.client, "past TCP");
    CHECK(hear(ends.server, 8) == "past TCP");
    const Duplex right = talk(ends, seed, kTotal, 3, [&] {
      swap.away();
      std::this_thread::yield();
      swap.back();
      swaps++;
    });
    CHECK(right.toServer == kTotal);
    CHECK(right.toClient == kTotal);
  }
  CHECK(count(*rig, "sockmap_redirected_bytes") >= 8 * seed);
}

TEST_CASE("after shutdown() the other way goes on, and what was sent is read before the end") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  const Ends ends = pairOf(*rig);
  say(ends.client, "last words");
  REQUIRE(::shutdown(ends.client.get(), SHUT_WR) == 0);
  CHECK(hear(ends.server, 100) == "last words");
  int error = 0;
  CHECK(recvOne(ends.server, error) == 0);
  say(ends.server, "an answer");
  CHECK(hear(ends.client, 9) == "an answer");
  REQUIRE(::shutdown(ends.server.get(), SHUT_WR) == 0);
  CHECK(recvOne(ends.client, error) == 0);
}

TEST_CASE("sendfile() arrives as it was") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  constexpr size_t kSize = 100000;
  const Ends ends = pairOf(*rig);
  const UniqueFd file(::memfd_create("sendfile", MFD_CLOEXEC));
  std::string content(kSize, '\0');
  for (size_t i = 0; i < kSize; i++) {
    content[i] = static_cast<char>(patternAt(9, i));
  }
  REQUIRE(::write(file.get(), content.data(), kSize) == static_cast<ssize_t>(kSize));
  off_t at = 0;
  std::string heard;
  while (static_cast<size_t>(at) < kSize) {
    const ssize_t n =
        ::sendfile(ends.client.get(), file.get(), &at, kSize - static_cast<size_t>(at));
    REQUIRE((n > 0 || errno == EAGAIN));
    heard += hear(ends.server, static_cast<size_t>(at) - heard.size());
  }
  CHECK(heard == content);
}

TEST_CASE("a connection whose peer is gone ends for its sender, too") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  // With unread data TCP would say ECONNRESET at once. Past TCP there is no RST for data that it
  // never saw: the end of the stream comes first, and the sender learns it by its next word but
  // one.
  Ends ends = pairOf(*rig);
  say(ends.client, "nobody reads this");
  ends.server.reset();
  int error = 0;
  CHECK(recvOne(ends.client, error) == 0);
  const std::string word(10, 'x');
  REQUIRE(isReady(ends.client, POLLOUT));
  ::send(ends.client.get(), word.data(), word.size(), MSG_NOSIGNAL);
  pollfd wanted{ends.client.get(), POLLERR | POLLHUP, 0};
  REQUIRE(::poll(&wanted, 1, kWaitMs) == 1);
  CHECK(::send(ends.client.get(), word.data(), word.size(), MSG_NOSIGNAL) < 0);
  CHECK((errno == EPIPE || errno == ECONNRESET));

  // An RST that is meant arrives.
  Ends reset = pairOf(*rig);
  const linger now{1, 0};
  REQUIRE(::setsockopt(reset.server.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
  reset.server.reset();
  CHECK(recvOne(reset.client, error) == -1);
  CHECK(error == ECONNRESET);
}

TEST_CASE("an urgent byte is not lost, nor is anything round it") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  const Ends ends = pairOf(*rig);
  say(ends.client, "abc");
  say(ends.client, "X", MSG_OOB);
  say(ends.client, "def");
  // Past TCP there is no urgent pointer: it comes in its place, as with SO_OOBINLINE.
  CHECK(hear(ends.server, 7) == "abcXdef");
}

TEST_CASE("a reader that waits for more is woken by less past TCP, and loses nothing") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  const Ends ends = pairOf(*rig);
  const int low = 2000;
  REQUIRE(::setsockopt(ends.server.get(), SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low) == 0);
  say(ends.client, "less");
  CHECK(isReady(ends.server, POLLIN));
  CHECK(hear(ends.server, 4) == "less");
}

TEST_CASE("what a kernel gets wrong is what its gates refuse, and the other way round") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  const auto gates = weft::kernel::trySockmapGates();
  const std::pair<weft_gate, std::string (*)(SockmapRig&)> all[] = {
      {WEFT_GATE_FIONREAD_PASSED, weft::kernel::tryFionreadPassed},
      {WEFT_GATE_FIONREAD_REDIRECTED, weft::kernel::tryFionreadRedirected},
      {WEFT_GATE_BLOCKING_RECV, weft::kernel::tryBlockingRecv},
      {WEFT_GATE_SPLICE, weft::kernel::trySplice},
  };
  for (const auto& [gate, trial] : all) {
    INFO(gates[gate].name, ": ", gates[gate].reason);
    CHECK(gates[gate].ok == trial(*rig).empty());
  }
}

TEST_CASE("one anomaly takes a connection off the tier for good") {
  const auto rig = rigOf();
  if (rig == nullptr) {
    return;
  }
  const int pairs = rig->programs().map("weft_pairs");
  SUBCASE("the socket at the other end is another one now") {
    const Ends ends = pairOf(*rig);
    weft_pair known = rig->known(ends);
    known.ends[WEFT_SERVER].cookie++;
    REQUIRE(bpf_map_update_elem(pairs, &ends.tuple, &known, BPF_EXIST) == 0);
    say(ends.client, "hello");
    CHECK(hear(ends.server, 5) == "hello");
    CHECK(count(*rig, "sockmap_off_stranger") == 1);
    CHECK(rig->known(ends).off == 1);
    say(ends.client, "again");
    CHECK(hear(ends.server, 5) == "again");
    CHECK(count(*rig, "sockmap_off_stranger") == 1);
  }
  SUBCASE("where it should be nothing can be read") {
    const Ends ends = pairOf(*rig);
    weft_pair known = rig->known(ends);
    known.ends[WEFT_SERVER].socket = 8;
    REQUIRE(bpf_map_update_elem(pairs, &ends.tuple, &known, BPF_EXIST) == 0);
    say(ends.client, "hello");
    CHECK(hear(ends.server, 5) == "hello");
    CHECK(count(*rig, "sockmap_off_unreadable") == 1);
    CHECK(rig->known(ends).off == 1);
  }
  SUBCASE("the kernel refuses the redirect") {
    const Ends ends = pairOf(*rig);
    const uint64_t cookie = rig->known(ends).ends[WEFT_SERVER].cookie;
    REQUIRE(bpf_map_delete_elem(rig->programs().map("weft_ends"), &cookie) == 0);
    say(ends.client, "hello");
    CHECK(hear(ends.server, 5) == "hello");
    CHECK(count(*rig, "sockmap_off_redirect") == 1);
    CHECK(rig->known(ends).off == 1);
  }
  CHECK(count(*rig, "sockmap_redirected_bytes") == 0);
}
