// SPDX-License-Identifier: Apache-2.0
// Requests of HTTP at a constant rate, open loop, at as little of a processor as can be: it shares
// one with what it measures. One line of JSON.
//   bench_open_loop ADDRESS PORT RATE SECONDS KEPT
// They go over KEPT connections, each of which has carried one before the clock begins; over one of
// its own each, if KEPT is 0.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"

namespace {

using weft::monotonicNanos;
using weft::UniqueFd;

constexpr uint64_t kSecond = 1'000'000'000;
/// Under way at a time, where each has a connection of its own. What is due beyond that waits.
constexpr size_t kOwnMax = 900;
/// For what is late, when the time is over. What has no answer then counts with the time it had.
constexpr uint64_t kDrainNanos = 2 * kSecond;
constexpr std::string_view kRequest = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
constexpr std::string_view kStatus = "HTTP/1.1 200 ";
constexpr std::string_view kLength = "\r\nContent-Length: ";

/// What is wanted.
struct Load {
  sockaddr_in server;
  uint64_t rate;
  uint64_t seconds;
  size_t kept;
};

/// A connection, or a place for one.
struct Place {
  UniqueFd socket;
  uint64_t dueAt = 0;
  bool busy = false;
  bool asked = false;
  std::string answer;
};

enum class Progress { kMore, kAnswered, kFailed };

/// How far an answer has come.
Progress progressOf(std::string_view answer) {
  const size_t head = answer.find("\r\n\r\n");
  if (head == std::string_view::npos) {
    return Progress::kMore;
  }
  const size_t length = answer.find(kLength);
  if (!answer.starts_with(kStatus) || length == std::string_view::npos || length > head) {
    return Progress::kFailed;
  }
  const size_t body = std::strtoull(answer.data() + length + kLength.size(), nullptr, 10);
  return answer.size() < head + 4 + body ? Progress::kMore : Progress::kAnswered;
}

class OpenLoop {
 public:
  explicit OpenLoop(const Load& load)
      : load_(load),
        interval_(kSecond / load.rate),
        places_(load.kept > 0 ? load.kept : kOwnMax),
        total_(load.rate * load.seconds) {
    nanos_.reserve(total_);
  }

  /// Returns when all have been answered, or have had their time.
  void run();
  void print() const;

 private:
  bool isKept() const { return load_.kept > 0; }
  uint64_t nextDueAt() const { return start_ + begun_ * interval_; }
  void warmUp();
  void beginDue(uint64_t now);
  void begin(size_t index, uint64_t dueAt);
  bool open(size_t index);
  void ask(size_t index);
  void onEvent(const epoll_event& event);
  Progress read(Place& place);
  void finish(size_t index, bool answered);
  void giveUp();
  void waitUntil(uint64_t time);

  const Load load_;
  const uint64_t interval_;
  const UniqueFd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  std::vector<Place> places_;
  std::vector<size_t> free_;
  const uint64_t total_;
  uint64_t begun_ = 0;
  uint64_t answered_ = 0;
  uint64_t failed_ = 0;
  std::vector<uint64_t> nanos_;  // from when each was due until it had its answer, or failed
  uint64_t start_ = 0;
  uint64_t end_ = 0;
};

bool OpenLoop::open(size_t index) {
  Place& place = places_[index];
  place.socket.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  epoll_event events{};
  events.events = EPOLLIN | EPOLLOUT | EPOLLET;
  events.data.u64 = index;
  const auto* address = reinterpret_cast<const sockaddr*>(&load_.server);
  return (::connect(place.socket.get(), address, sizeof load_.server) == 0 ||
          errno == EINPROGRESS) &&
         ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, place.socket.get(), &events) == 0;
}

void OpenLoop::begin(size_t index, uint64_t dueAt) {
  Place& place = places_[index];
  place.busy = true;
  place.asked = false;
  place.dueAt = dueAt;
  place.answer.clear();
  if (place.socket) {
    ask(index);
  } else if (!open(index)) {
    finish(index, false);
  }
}

void OpenLoop::ask(size_t index) {
  Place& place = places_[index];
  place.asked = true;
  const ssize_t sent = ::send(place.socket.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(kRequest.size())) {
    finish(index, false);
  }
}

Progress OpenLoop::read(Place& place) {
  std::array<char, 4096> bytes;
  for (;;) {
    const ssize_t length = ::recv(place.socket.get(), bytes.data(), bytes.size(), 0);
    if (length <= 0) {
      return length < 0 && errno == EAGAIN ? Progress::kMore : Progress::kFailed;
    }
    place.answer.append(bytes.data(), static_cast<size_t>(length));
    const Progress progress = progressOf(place.answer);
    if (progress != Progress::kMore) {
      return progress;
    }
  }
}

void OpenLoop::onEvent(const epoll_event& event) {
  const size_t index = event.data.u64;
  Place& place = places_[index];
  if (place.busy && !place.asked && (event.events & EPOLLOUT) != 0) {
    ask(index);
  }
  if (place.busy && (event.events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
    const Progress progress = read(place);
    if (progress != Progress::kMore) {
      finish(index, progress == Progress::kAnswered);
    }
  }
}

void OpenLoop::finish(size_t index, bool answered) {
  Place& place = places_[index];
  end_ = monotonicNanos();
  nanos_.push_back(end_ - place.dueAt);
  (answered ? answered_ : failed_)++;
  if (!answered || !isKept()) {
    place.socket.reset();
  }
  place.busy = false;
  free_.push_back(index);
}

void OpenLoop::waitUntil(uint64_t time) {
  const uint64_t now = monotonicNanos();
  const uint64_t left = time > now ? time - now : 0;
  const timespec timeout{static_cast<time_t>(left / kSecond), static_cast<long>(left % kSecond)};
  std::array<epoll_event, 64> ready;
  const int count = ::epoll_pwait2(epoll_.get(), ready.data(), ready.size(), &timeout, nullptr);
  for (int i = 0; i < count; i++) {
    onEvent(ready[static_cast<size_t>(i)]);
  }
}

void OpenLoop::warmUp() {
  const uint64_t start = monotonicNanos();
  for (size_t i = 0; i < places_.size(); i++) {
    begin(i, start);
  }
  const uint64_t last = start + kDrainNanos;
  while (free_.size() < places_.size() && monotonicNanos() < last) {
    waitUntil(last);
  }
  // One that has none yet would take the place of one that is measured.
  failed_ += places_.size() - free_.size();
  answered_ = 0;
  nanos_.clear();
}

void OpenLoop::beginDue(uint64_t now) {
  while (begun_ < total_ && nextDueAt() <= now && !free_.empty()) {
    const size_t index = free_.back();
    free_.pop_back();
    const uint64_t dueAt = nextDueAt();
    begun_++;
    begin(index, dueAt);
  }
}

void OpenLoop::run() {
  if (isKept()) {
    warmUp();
  } else {
    for (size_t i = places_.size(); i > 0; i--) {
      free_.push_back(i - 1);
    }
  }
  start_ = monotonicNanos();
  const uint64_t stop = start_ + total_ * interval_;
  for (uint64_t now = start_; now < stop + kDrainNanos; now = monotonicNanos()) {
    beginDue(now);
    if (now >= stop && begun_ == total_ && free_.size() == places_.size()) {
      break;
    }
    const bool waitsForFree = free_.empty() || begun_ == total_;
    const uint64_t next = now < stop ? stop : stop + kDrainNanos;
    waitUntil(waitsForFree ? next : std::min(next, nextDueAt()));
  }
  giveUp();
}

void OpenLoop::giveUp() {
  const uint64_t now = monotonicNanos();
  for (const Place& place : places_) {
    if (place.busy) {
      nanos_.push_back(now - place.dueAt);
    }
  }
  for (uint64_t i = begun_; i < total_; i++) {
    nanos_.push_back(now - (start_ + i * interval_));
  }
}

void OpenLoop::print() const {
  std::vector<uint64_t> sorted = nanos_;
  std::sort(sorted.begin(), sorted.end());
  const auto micros = [&sorted](size_t percent) {
    return sorted.empty() ? 0.0 : static_cast<double>(sorted[sorted.size() * percent / 100]) * 1e-3;
  };
  const uint64_t asked = total_ * interval_;
  const double seconds = static_cast<double>(std::max(asked, end_ - start_)) * 1e-9;
  std::printf(R"({"asked":%lu,"answered":%lu,"failed":%lu,"seconds":%.6f,)", total_, answered_,
              failed_, seconds);
  std::printf(R"("micros":{"p50":%.1f,"p90":%.1f,"p99":%.1f}})"
              "\n",
              micros(50), micros(90), micros(99));
}

}  // namespace

int main(int argc, char** argv) {
  std::array<uint64_t, 6> numbers{};
  for (int i = 2; i < argc && i < 6; i++) {
    numbers[static_cast<size_t>(i)] = std::strtoull(argv[i], nullptr, 10);
  }
  Load load{{}, numbers[3], numbers[4], numbers[5]};
  load.server.sin_family = AF_INET;
  load.server.sin_port = htons(static_cast<uint16_t>(numbers[2]));
  const bool complete = argc == 6 && load.rate > 0 && load.seconds > 0;
  if (!complete || ::inet_pton(AF_INET, argv[1], &load.server.sin_addr) != 1) {
    std::fprintf(stderr, "bench_open_loop ADDRESS PORT RATE SECONDS KEPT\n");
    return 1;
  }
  OpenLoop loop(load);
  loop.run();
  loop.print();
  return 0;
}
