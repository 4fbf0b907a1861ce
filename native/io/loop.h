// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/unique_fd.h"

namespace weft::io {

class Loop;

/// What a loop may hold on to across a turn. It is destroyed only by Loop::bury(), at the end of a
/// turn in which no list of the loop names it any more.
class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;

 private:
  friend class Loop;
  bool again_ = false;
  bool new_ = false;
  bool dirty_ = false;
  bool last_ = false;
};

/// An object with work that a turn does.
class Task : public Object {
 public:
  /// Continues work whose share of an earlier turn was used up. See Loop::again().
  virtual void onAgain() {}
  /// Does what one does who is not established yet. See Loop::queueNew().
  virtual void onNew() {}
  /// Finishes what this turn collected. See Loop::atTurnEnd().
  virtual void onTurnEnd() {}
  /// What comes after all else. See Loop::afterTurn().
  virtual void onTurnOver() {}
};

/// A task with a descriptor that the loop watches.
class Pollable : public Task {
 public:
  /// `events` is epoll's mask. Edge-triggered: what is not consumed now is not told again.
  virtual void onReady(uint32_t events) = 0;
};

/// A one-shot timer. Cancels itself when it goes.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { cancel(); }

  /// Runs `action` once on the loop's thread, `delayMs` from now. A running timer is started anew.
  void start(Loop& loop, uint64_t delayMs, std::function<void()> action);
  void cancel();
  bool running() const { return loop_ != nullptr; }

 private:
  friend class Loop;
  Loop* loop_ = nullptr;
  std::multimap<uint64_t, Timer*>::iterator at_;
  std::function<void()> action_;
};

/// How a loop looks for more after a turn with events, before it sleeps.
struct BusyPoll {
  /// For so long. With 0 it sleeps at once.
  uint64_t micros = 0;
  /// A yield that takes longer let somebody else run, who may want the processor again: the loop
  /// sleeps then.
  uint64_t yieldMicros = 3;
};

/// One thread's event loop: edge-triggered epoll, few events a turn, and at the end of the turn one
/// flush for each object that collected output. Everything but post() and stop() belongs to the
/// thread that calls run().
class Loop {
 public:
  /// Events taken in one turn. More would coalesce more, but make two nodes work in turns instead
  /// of at once (measured: 16 gives 5 to 10 % more requests than 256).
  static constexpr int kEventsPerTurn = 16;
  /// Tasks of again() that one turn continues, the longest waiting first, so that hundreds of busy
  /// connections do not keep a new event waiting for all of them.
  static constexpr int kAgainPerTurn = 16;
  /// Tasks of queueNew() that one turn takes. What they do is dear, and the events of established
  /// connections wait for it: beside more new connections than there is time for, their
  /// requests took over a second, and take some ten milliseconds so (measured).
  static constexpr int kNewPerTurn = 2;
  /// After a turn that gave so many other threads something to do, the loop lets them run first.
  /// Where they share its processor, their answers then come in parts that the next turns take
  /// while they go on, instead of all at the end (measured: half as many requests again for the
  /// same processor time).
  static constexpr int kWokenPerYield = 8;

  explicit Loop(BusyPoll busyPoll = {});
  ~Loop();

  /// Until stop(). What is buried by then dies before this returns, on this thread.
  void run();
  /// From any thread: makes run() return after this turn.
  void stop();
  /// From any thread: runs `work` on the loop's thread.
  void post(std::function<void()> work);

  /// Watches `fd` for reading and writing until it is unwatched, which has to be before its
  /// pollable goes: closing it alone ends nothing while a copy is open, and a child that is being
  /// forked holds copies of all.
  void watch(int fd, Pollable* pollable);
  void unwatch(int fd);
  /// Unwatches and closes `fd`, if it is open.
  void close(UniqueFd& fd);
  /// Calls task->onAgain() in the next turn that has its place in the order, none of which waits
  /// until then. Once, however often it is asked.
  void again(Task* task);
  /// Calls task->onNew() when this turn has taken its events or in one of the next, none of which
  /// waits until then, the longest waiting first. Once, however often it is asked.
  void queueNew(Task* task);
  /// Calls task->onTurnEnd() at the end of this turn, once.
  void atTurnEnd(Task* task);
  /// Calls task->onTurnOver() when all else of this turn is done, once; what it collects for the
  /// turn's end is still flushed in it. Asked from there, it is called in the next turn, however
  /// many wait for again().
  void afterTurn(Task* task);
  /// Notes that this turn gave another thread something to do. See kWokenPerYield.
  void woke() { woken_++; }
  /// Destroys `object` when no list names it any more, at the earliest at the end of this turn.
  void bury(std::unique_ptr<Object> object);

  uint64_t nowMs() const { return nowMs_; }  ///< As of the start of this turn.
  uint64_t turns() const { return turns_; }
  uint64_t busyPolls() const { return busyPolls_; }  ///< Questions to epoll that would not sleep.

 private:
  friend class Timer;
  void runPosted();
  void runTimers();
  void runAgain();
  void runNew();
  void runTurnEnd();
  void runTurnOver();
  void emptyGrave();
  void emptyGraveForGood();
  void letOthersRun();
  int takeEvents(epoll_event* events);
  int pollBusily(epoll_event* events);
  int waitMs() const;

  const BusyPoll busyPoll_;
  UniqueFd epoll_;
  UniqueFd wake_;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // guarded by mutex_
  bool stopping_ = false;
  uint64_t nowMs_ = 0;
  uint64_t turns_ = 0;
  uint64_t busyPolls_ = 0;
  bool hadEvents_ = false;  // in the last turn
  int woken_ = 0;           // in this turn
  std::multimap<uint64_t, Timer*> timers_;
  std::vector<Task*> again_;
  std::deque<Task*> new_;
  std::vector<Task*> dirty_;
  std::vector<Task*> last_;
  std::vector<std::unique_ptr<Object>> grave_;
};

}  // namespace weft::io
