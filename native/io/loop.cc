// SPDX-License-Identifier: Apache-2.0
#include "io/loop.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/clock.h"

namespace weft::io {
namespace {
// A turn's end may make other objects dirty; past this many rounds the rest waits for the next
// turn.
constexpr int kTurnEndRounds = 4;
}  // namespace

void Timer::start(Loop& loop, uint64_t delayMs, std::function<void()> action) {
  cancel();
  loop_ = &loop;
  action_ = std::move(action);
  // One more than the clock says, which is cut to whole milliseconds: never early.
  at_ = loop.timers_.emplace(monotonicMillis() + delayMs + 1, this);
}

void Timer::cancel() {
  if (loop_ != nullptr) {
    loop_->timers_.erase(at_);
    loop_ = nullptr;
  }
}

Loop::Loop(BusyPoll busyPoll)
    : busyPoll_(busyPoll),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      nowMs_(monotonicMillis()) {
  CHECK(epoll_.get() >= 0 && wake_.get() >= 0);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // null stands for the wake-up
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
}

Loop::~Loop() {
  emptyGraveForGood();
}

void Loop::stop() {
  post([this] { stopping_ = true; });
}

void Loop::post(std::function<void()> work) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(work));
  }
  if (first) {
    const uint64_t one = 1;
    CHECK(::write(wake_.get(), &one, sizeof one) == sizeof one);
  }
}

void Loop::watch(int fd, Pollable* pollable) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = pollable;
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
}

void Loop::unwatch(int fd) {
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0);
}

void Loop::close(UniqueFd& fd) {
  if (fd) {
    unwatch(fd.get());
    fd.reset();
  }
}

void Loop::again(Task* task) {
  if (!std::exchange(task->again_, true)) {
    again_.push_back(task);
  }
}

void Loop::queueNew(Task* task) {
  if (!std::exchange(task->new_, true)) {
    new_.push_back(task);
  }
}

void Loop::atTurnEnd(Task* task) {
  if (!std::exchange(task->dirty_, true)) {
    dirty_.push_back(task);
  }
}

void Loop::afterTurn(Task* task) {
  if (!std::exchange(task->last_, true)) {
    last_.push_back(task);
  }
}

void Loop::bury(std::unique_ptr<Object> object) {
  grave_.push_back(std::move(object));
}

void Loop::run() {
  epoll_event events[kEventsPerTurn];
  while (!stopping_) {
    const int n = takeEvents(events);
    hadEvents_ = n > 0;
    nowMs_ = monotonicMillis();
    turns_++;
    for (int i = 0; i < n; i++) {
      if (events[i].data.ptr == nullptr) {
        runPosted();
      } else {
        static_cast<Pollable*>(events[i].data.ptr)->onReady(events[i].events);
      }
    }
    runTimers();
    runNew();
    runAgain();
    runTurnEnd();
    runTurnOver();
    emptyGrave();
    letOthersRun();
  }
  emptyGraveForGood();
}

int Loop::takeEvents(epoll_event* events) {
  if (busyPoll_.micros != 0 && hadEvents_ && waitMs() != 0) {
    if (const int n = pollBusily(events); n != 0) {
      return n;
    }
  }
  const int n = ::epoll_wait(epoll_.get(), events, kEventsPerTurn, waitMs());
  CHECK(n >= 0 || errno == EINTR);
  return n;
}

int Loop::pollBusily(epoll_event* events) {
  const uint64_t until = monotonicMicros() + busyPoll_.micros;
  while (waitMs() != 0) {
    busyPolls_++;
    const int n = ::epoll_wait(epoll_.get(), events, kEventsPerTurn, 0);
    CHECK(n >= 0 || errno == EINTR);
    if (n > 0) {
      return n;
    }
    const uint64_t asked = monotonicMicros();
    ::sched_yield();
    const uint64_t now = monotonicMicros();
    if (now >= until || now - asked > busyPoll_.yieldMicros) {
      break;
    }
  }
  return 0;
}

void Loop::letOthersRun() {
  if (std::exchange(woken_, 0) >= kWokenPerYield) {
    ::sched_yield();
  }
}

int Loop::waitMs() const {
  if (!new_.empty() || !again_.empty() || !dirty_.empty() || !last_.empty()) {
    return 0;
  }
  if (timers_.empty()) {
    return -1;
  }
  const uint64_t at = timers_.begin()->first;
  const uint64_t now = monotonicMillis();
  return at <= now ? 0 : static_cast<int>(std::min<uint64_t>(at - now, 60000));
}

void Loop::runPosted() {
  uint64_t count = 0;
  // Nothing to read is no error: the eventfd only says that somebody posted.
  [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &count, sizeof count);
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (auto& one : work) {
    one();
  }
}

void Loop::runTimers() {
  while (!timers_.empty() && timers_.begin()->first <= nowMs_) {
    Timer* timer = timers_.begin()->second;
    timer->cancel();
    const std::function<void()> action = std::move(timer->action_);
    action();  // may destroy the timer
  }
}

void Loop::runNew() {
  for (int i = 0; i < kNewPerTurn && !new_.empty(); i++) {
    Task* const task = new_.front();
    new_.pop_front();
    task->new_ = false;
    task->onNew();
  }
}

void Loop::runAgain() {
  std::vector<Task*> tasks;
  tasks.swap(again_);
  if (tasks.size() > kAgainPerTurn) {
    again_.assign(tasks.begin() + kAgainPerTurn, tasks.end());
    tasks.resize(kAgainPerTurn);
  }
  for (Task* task : tasks) {
    task->again_ = false;
    task->onAgain();
  }
}

void Loop::runTurnEnd() {
  for (int round = 0; round < kTurnEndRounds && !dirty_.empty(); round++) {
    std::vector<Task*> tasks;
    tasks.swap(dirty_);
    for (Task* task : tasks) {
      task->dirty_ = false;
      task->onTurnEnd();
    }
  }
}

void Loop::runTurnOver() {
  if (last_.empty()) {
    return;
  }
  std::vector<Task*> tasks;
  tasks.swap(last_);
  for (Task* task : tasks) {
    task->last_ = false;
    task->onTurnOver();
  }
  runTurnEnd();
}

void Loop::emptyGrave() {
  if (grave_.empty()) {
    return;
  }
  std::vector<std::unique_ptr<Object>> dying;
  dying.swap(grave_);
  for (auto& object : dying) {
    if (object->again_ || object->new_ || object->dirty_ || object->last_) {
      grave_.push_back(std::move(object));  // a list still names it; it goes after that list ran
    }
  }
}

// No list is read any more. Who dies may bury others.
void Loop::emptyGraveForGood() {
  while (!grave_.empty()) {
    const std::unique_ptr<Object> dying = std::move(grave_.back());
    grave_.pop_back();
  }
}

}  // namespace weft::io
