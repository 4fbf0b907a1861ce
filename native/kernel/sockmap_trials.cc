// SPDX-License-Identifier: Apache-2.0
#include "kernel/sockmap_trials.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "kernel/sockmap_rig.h"

namespace weft::kernel {
namespace {

constexpr int kWaitMs = 5000;
constexpr size_t kMessage = 3000;
/// Most that a sender may be rid of before a reader that does not read stops it: the default limits
/// of both buffers, and more.
constexpr size_t kStalledMax = size_t{32} << 20;
constexpr int kWakeRounds = 50;

using Ends = SockmapRig::Ends;

std::string errnoText(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

bool isReadable(int fd) {
  pollfd wanted{fd, POLLIN, 0};
  return ::poll(&wanted, 1, kWaitMs) == 1;
}

/// All of `text` in one message; a socket with room takes it.
std::string say(int fd, const std::string& text) {
  const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent == static_cast<ssize_t>(text.size()) ? "" : errnoText("send");
}

/// As many bytes, or what came before it stopped.
std::string hear(int fd, size_t count) {
  std::string heard(count, '\0');
  size_t got = 0;
  while (got < count && isReadable(fd)) {
    const ssize_t n = ::recv(fd, heard.data() + got, count - got, MSG_DONTWAIT);
    if (n <= 0 && !(n < 0 && errno == EAGAIN)) {
      break;
    }
    got += n > 0 ? static_cast<size_t>(n) : 0;
  }
  heard.resize(got);
  return heard;
}

uint64_t redirected(const SockmapRig& rig) {
  return rig.counters().at("sockmap_redirected_bytes");
}

/// Says it past TCP, or why that is not so.
std::string sayPast(const SockmapRig& rig, int fd, const std::string& text) {
  const uint64_t before = redirected(rig);
  if (std::string wrong = say(fd, text); !wrong.empty()) {
    return wrong;
  }
  return redirected(rig) - before == text.size() ? "" : "what was sent did not go past TCP";
}

std::string fionread(int fd, size_t expected) {
  int waiting = -1;
  if (!isReadable(fd) || ::ioctl(fd, FIONREAD, &waiting) != 0) {
    return errnoText("FIONREAD");
  }
  return waiting == static_cast<int>(expected)
             ? ""
             : "FIONREAD is " + std::to_string(waiting) + " with " + std::to_string(expected) +
                   " bytes to read";
}

/// What arrives for this socket is lost, as on a bad network: all of it, or what opens no
/// connection.
bool loseArrivals(int fd, bool butSyn) {
  // The segment begins with TCP's header, whose flags stand in byte 13; SYN is 2.
  sock_filter lines[] = {
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, 13},
      {BPF_JMP | BPF_JSET | BPF_K, 0, 1, butSyn ? 2U : 0U},
      {BPF_RET | BPF_K, 0, 0, 0xffffffff},
      {BPF_RET | BPF_K, 0, 0, 0},
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(lines)), lines};
  return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0;
}

bool loseNothing(int fd) {
  const int unused = 0;
  return ::setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused) == 0;
}

std::string inOrder(int fd, const std::string& expected) {
  const std::string heard = hear(fd, expected.size());
  return heard == expected ? "" : "\"" + heard + "\" was read of \"" + expected + "\"";
}

/// The connection's last ACK is late: one end is established, and speaks, before the other is.
std::string lateAck(SockmapRig& rig) {
  const Result<UniqueFd> listener = rig.listen();
  if (!listener.ok() || !loseArrivals(listener.value().get(), true)) {
    return errnoText("lose a late ACK");
  }
  Result<UniqueFd> client = rig.connectTo(listener.value().get());
  if (!client.ok()) {
    return client.status().message();
  }
  Ends ends{std::move(client).value(), UniqueFd(), {}};
  std::string wrong = say(ends.client.get(), "a");
  if (wrong.empty() && !rig.enrol(ends).ok()) {
    wrong = "the client's end is not enrolled";
  }
  wrong += say(ends.client.get(), "b");
  if (!wrong.empty() || !loseNothing(listener.value().get()) ||
      !isReadable(listener.value().get())) {
    return wrong + errnoText("a late ACK");
  }
  ends.server =
      UniqueFd(::accept4(listener.value().get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (Status status = rig.promote(); !ends.server || !status.ok()) {
    return errnoText("accept") + status.message();
  }
  wrong = say(ends.client.get(), "c");
  return wrong.empty() ? inOrder(ends.server.get(), "abc") : wrong;
}

/// What was sent by TCP is lost, and on its way again.
std::string lostSegment(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  if (!ends.ok()) {
    return ends.status().message();
  }
  const int client = ends.value().client.get();
  const int server = ends.value().server.get();
  if (!loseArrivals(server, false) || !rig.setOff(ends.value(), true).ok()) {
    return errnoText("lose a segment");
  }
  std::string wrong = say(client, "a");
  if (!rig.setOff(ends.value(), false).ok()) {
    return "the connection is not known";
  }
  wrong += say(client, "b");
  if (!loseNothing(server)) {
    return errnoText("lose nothing");
  }
  return wrong.empty() ? inOrder(server, "ab") : wrong;
}

/// What was sent by TCP has arrived, and nobody has read it.
std::string unread(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  if (!ends.ok()) {
    return ends.status().message();
  }
  const int client = ends.value().client.get();
  const int server = ends.value().server.get();
  if (!rig.setOff(ends.value(), true).ok()) {
    return "the connection is not known";
  }
  std::string wrong = say(client, "a");
  if (!isReadable(server) || !rig.setOff(ends.value(), false).ok()) {
    return "what was sent did not arrive";
  }
  wrong += say(client, "b");
  return wrong.empty() ? inOrder(server, "ab") : wrong;
}

char patternAt(size_t offset) {
  return static_cast<char>((offset * 2654435761U) >> 13);
}

std::string patternOf(size_t from, size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; i++) {
    bytes[i] = patternAt(from + i);
  }
  return bytes;
}

/// Sends until nothing goes any more; how much went.
size_t sendAll(int fd, size_t most) {
  constexpr size_t kChunk = 65536;
  size_t sent = 0;
  while (sent < most) {
    const std::string chunk = patternOf(sent, kChunk);
    const ssize_t n = ::send(fd, chunk.data(), chunk.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n <= 0) {
      break;
    }
    sent += static_cast<size_t>(n);
  }
  return sent;
}

/// Reads that much and finds it as it was sent.
std::string readBack(int fd, size_t count) {
  constexpr size_t kChunk = 65536;
  for (size_t got = 0; got < count;) {
    const std::string heard = hear(fd, std::min(kChunk, count - got));
    if (heard.empty() || heard != patternOf(got, heard.size())) {
      return "of " + std::to_string(count) + " bytes those after " + std::to_string(got) +
             " are missing or wrong";
    }
    got += heard.size();
  }
  return "";
}

/// Reads all that is there, and counts how often a recv() that may wait does not.
int readBlocking(int fd, std::atomic<int>& spurious) {
  std::array<char, 4096> bytes{};
  while (true) {
    const ssize_t n = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
      return n == 0 ? 0 : errno;
    }
    spurious += n < 0 && errno == EAGAIN ? 1 : 0;
  }
}

}  // namespace

std::string tryKernelMemory(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  if (!ends.ok()) {
    return ends.status().message();
  }
  if (std::string wrong = say(ends.value().client.get(), "read me"); !wrong.empty()) {
    return wrong;
  }
  return rig.counters().at("sockmap_off_unreadable") == 0 ? "" : "the programs cannot read it";
}

std::string tryRedirect(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  if (!ends.ok()) {
    return ends.status().message();
  }
  const std::string text(kMessage, 'x');
  for (const auto& [from, to] : {std::pair{&ends.value().client, &ends.value().server},
                                 std::pair{&ends.value().server, &ends.value().client}}) {
    if (std::string wrong = sayPast(rig, from->get(), text); !wrong.empty()) {
      return wrong;
    }
    if (hear(to->get(), text.size()) != text) {
      return "what went past TCP did not arrive";
    }
  }
  return "";
}

std::string tryFionreadPassed(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  if (!ends.ok() || !rig.setOff(ends.value(), true).ok()) {
    return ends.ok() ? "the connection is not known" : ends.status().message();
  }
  const std::string wrong = say(ends.value().client.get(), std::string(kMessage, 'x'));
  return wrong.empty() ? fionread(ends.value().server.get(), kMessage) : wrong;
}

std::string tryFionreadRedirected(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  if (!ends.ok()) {
    return ends.status().message();
  }
  const std::string wrong = sayPast(rig, ends.value().client.get(), std::string(kMessage, 'x'));
  return wrong.empty() ? fionread(ends.value().server.get(), kMessage) : wrong;
}

std::string tryReceiveCharge(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  if (!ends.ok()) {
    return ends.status().message();
  }
  const int client = ends.value().client.get();
  const int server = ends.value().server.get();
  const std::string first = patternOf(0, kMessage);
  if (std::string wrong = sayPast(rig, client, first); !wrong.empty()) {
    return wrong;
  }
  std::array<uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t size = sizeof memory;
  if (::getsockopt(server, SOL_SOCKET, SO_MEMINFO, memory.data(), &size) != 0) {
    return errnoText("SO_MEMINFO");
  }
  if (memory[SK_MEMINFO_RMEM_ALLOC] < kMessage) {
    return "what waits past TCP is nobody's memory";
  }
  if (hear(server, kMessage) != first) {
    return "what went past TCP did not arrive";
  }
  const size_t sent = sendAll(client, kStalledMax);
  if (sent >= kStalledMax) {
    return "a reader that does not read was sent " + std::to_string(sent) + " bytes";
  }
  return readBack(server, sent);
}

std::string tryBlockingRecv(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  if (!ends.ok()) {
    return ends.status().message();
  }
  const int client = ends.value().client.get();
  const int server = ends.value().server.get();
  ::fcntl(server, F_SETFL, 0);
  std::atomic<int> spurious = 0;
  std::thread reader([&] { readBlocking(server, spurious); });
  // Each time that there is room to write again the sleeping reader is woken for nothing.
  std::string wrong;
  for (int i = 0; i < kWakeRounds && spurious == 0 && wrong.empty(); i++) {
    wrong = readBack(client, sendAll(server, kStalledMax));
  }
  ::shutdown(client, SHUT_WR);
  reader.join();
  return spurious == 0 ? wrong : "recv() is woken for nothing, and says EAGAIN";
}

std::string trySplice(SockmapRig& rig) {
  const Result<Ends> ends = rig.pair();
  int pipe[2] = {-1, -1};
  if (!ends.ok() || ::pipe2(pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
    return ends.ok() ? errnoText("pipe") : ends.status().message();
  }
  const UniqueFd out(pipe[0]);
  const UniqueFd in(pipe[1]);
  const int server = ends.value().server.get();
  if (std::string wrong = sayPast(rig, ends.value().client.get(), std::string(kMessage, 'x'));
      !wrong.empty()) {
    return wrong;
  }
  if (!isReadable(server)) {
    return "what went past TCP did not arrive";
  }
  const ssize_t moved =
      ::splice(server, nullptr, in.get(), nullptr, 1 << 16, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (moved < 0) {
    return errnoText("splice() with bytes to read");
  }
  return moved == static_cast<ssize_t>(kMessage)
             ? ""
             : "splice() moved " + std::to_string(moved) + " of " + std::to_string(kMessage);
}

std::string tryOrder(SockmapRig& rig) {
  constexpr std::pair<const char*, std::string (*)(SockmapRig&)> kTrials[] = {
      {"a late ACK", lateAck}, {"a lost segment", lostSegment}, {"unread data", unread}};
  for (const auto& [what, trial] : kTrials) {
    if (const std::string wrong = trial(rig); !wrong.empty()) {
      return std::string(what) + ": " + wrong;
    }
  }
  return "";
}

}  // namespace weft::kernel
