// SPDX-License-Identifier: Apache-2.0
// Long, since each rule of a turn's order is a case, told by the same recorder.
#include "io/loop.h"

#include <doctest/doctest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"

using weft::UniqueFd;
using weft::io::Loop;
using weft::io::Pollable;
using weft::io::Task;
using weft::io::Timer;

namespace {

/// Writes down what the loop calls.
struct Recorder : Task {
  Recorder(std::string nameIn, std::vector<std::string>& logIn)
      : name(std::move(nameIn)), log(logIn) {}
  ~Recorder() override { log.push_back("~" + name); }
  void onAgain() override {
    log.push_back(name + " again");
    if (then) {
      std::exchange(then, {})();
    }
  }
  void onNew() override {
    log.push_back(name + " new");
    if (then) {
      std::exchange(then, {})();
    }
  }
  void onTurnEnd() override {
    log.push_back(name + " end");
    if (then) {
      std::exchange(then, {})();
    }
  }
  std::string name;
  std::vector<std::string>& log;
  std::function<void()> then;
};

struct Pair {
  Pair() {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    one.reset(fds[0]);
    two.reset(fds[1]);
  }
  UniqueFd one, two;
};

struct Reader : Pollable {
  explicit Reader(std::function<void(uint32_t)> actIn) : act(std::move(actIn)) {}
  void onReady(uint32_t events) override { act(events); }
  std::function<void(uint32_t)> act;
};

using Log = std::vector<std::string>;

}  // namespace

TEST_CASE("posted work runs in order, from any thread, and stop() is the last") {
  Loop loop;
  std::vector<int> order;
  std::thread other([&] {
    for (int i = 0; i < 1000; i++) {
      loop.post([&order, i] { order.push_back(i); });
    }
    loop.stop();
  });
  loop.run();
  other.join();
  REQUIRE(order.size() == 1000);
  for (int i = 0; i < 1000; i++) {
    CHECK(order[static_cast<size_t>(i)] == i);
  }
}

TEST_CASE("no post is lost between threads") {
  Loop loop;
  std::atomic<int> left = 4 * 5000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; i++) {
        loop.post([&] {
          if (--left == 0) {
            loop.stop();
          }
        });
      }
    });
  }
  loop.run();
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(left == 0);
}

TEST_CASE("work may post more work") {
  Loop loop;
  int depth = 0;
  std::function<void()> deeper = [&] {
    if (++depth < 10) {
      loop.post(deeper);
    } else {
      loop.stop();
    }
  };
  loop.post(deeper);
  loop.run();
  CHECK(depth == 10);
}

TEST_CASE("timers run in the order of their time, and not before it") {
  Loop loop;
  std::vector<int> order;
  Timer late, early, cancelled;
  const uint64_t start = weft::monotonicMillis();
  uint64_t ran = 0;
  loop.post([&] {
    late.start(loop, 30, [&] {
      order.push_back(2);
      ran = weft::monotonicMillis();
      loop.stop();
    });
    cancelled.start(loop, 5, [&] { order.push_back(3); });
    early.start(loop, 10, [&] {
      order.push_back(1);
      CHECK_FALSE(early.running());
      CHECK(late.running());
    });
    cancelled.cancel();
    CHECK_FALSE(cancelled.running());
  });
  loop.run();
  CHECK(order == std::vector<int>{1, 2});
  CHECK(ran - start >= 30);
}

TEST_CASE("a timer may start itself again, or go, from within its action") {
  Loop loop;
  auto gone = std::make_unique<Timer>();
  Timer repeating;
  int runs = 0;
  std::function<void()> repeat = [&] {
    if (++runs < 3) {
      repeating.start(loop, 1, repeat);
    } else {
      loop.stop();
    }
  };
  gone->start(loop, 1, [&] { gone.reset(); });
  repeating.start(loop, 1, repeat);
  loop.run();
  CHECK(runs == 3);
  CHECK(gone == nullptr);
}

TEST_CASE("a running timer that is started again runs once, at the new time") {
  Loop loop;
  Timer timer, end;
  int old = 0;
  int fresh = 0;
  timer.start(loop, 1, [&] { old++; });
  timer.start(loop, 5, [&] { fresh++; });
  end.start(loop, 10, [&] { loop.stop(); });
  loop.run();
  CHECK(old == 0);
  CHECK(fresh == 1);
}

TEST_CASE("a timer that goes never runs") {
  Loop loop;
  Timer end;
  {
    Timer shortLived;
    shortLived.start(loop, 0, [] { CHECK(false); });
  }
  end.start(loop, 2, [&] { loop.stop(); });
  loop.run();
}

TEST_CASE("again() runs in the next turn, once however often it is asked") {
  Loop loop;
  Log log;
  Recorder task("a", log);
  uint64_t asked = 0;
  loop.post([&] {
    asked = loop.turns();
    task.then = [&] {
      CHECK(loop.turns() == asked);
      loop.again(&task);
      loop.again(&task);
      task.then = [&] {
        CHECK(loop.turns() == asked + 1);
        loop.stop();
      };
    };
    loop.again(&task);
    loop.again(&task);
  });
  loop.run();
  CHECK(log == Log{"a again", "a again"});
}

/// In which turn each of so many tasks is called, all of which ask `loop` by `ask` in one turn.
std::vector<uint64_t> turnsOf(Loop& loop, size_t count, void (Loop::*ask)(Task*), const char* how) {
  Log log;
  std::vector<std::unique_ptr<Recorder>> tasks;
  std::vector<uint64_t> at;
  Log expected;
  for (size_t i = 0; i < count; i++) {
    tasks.push_back(std::make_unique<Recorder>(std::to_string(i), log));
    expected.push_back(std::to_string(i) + how);
    tasks.back()->then = [&] {
      at.push_back(loop.turns());
      if (at.size() == count) {
        loop.stop();
      }
    };
  }
  loop.post([&] {
    for (const auto& task : tasks) {
      (loop.*ask)(task.get());
      (loop.*ask)(task.get());
    }
  });
  loop.run();
  CHECK(log == expected);
  REQUIRE(at.size() == count);
  return at;
}

TEST_CASE("a turn continues so many tasks, and the next ones the rest, in order") {
  Loop loop;
  const auto at = turnsOf(loop, 2 * Loop::kAgainPerTurn + 3, &Loop::again, " again");
  CHECK(at[Loop::kAgainPerTurn - 1] == at[0]);
  CHECK(at[Loop::kAgainPerTurn] == at[0] + 1);
  CHECK(at.back() == at[0] + 2);
}

TEST_CASE("a turn takes few of those who are new, and the next ones the rest, in order") {
  Loop loop;
  const auto at = turnsOf(loop, 2 * Loop::kNewPerTurn + 1, &Loop::queueNew, " new");
  CHECK(at[Loop::kNewPerTurn - 1] == at[0]);
  CHECK(at[Loop::kNewPerTurn] == at[0] + 1);
  CHECK(at.back() == at[0] + 2);
}

TEST_CASE("who is new comes after the events of its turn, and before what is continued") {
  Loop loop;
  Log log;
  Recorder one("one", log);
  Recorder two("two", log);
  two.then = [&] { loop.stop(); };
  loop.post([&] {
    loop.again(&two);
    loop.queueNew(&one);
    log.emplace_back("event");
  });
  loop.run();
  CHECK(log == Log{"event", "one new", "two again"});
}

TEST_CASE("a buried object that is queued as new lives until that turn") {
  Loop loop;
  Log log;
  loop.post([&] {
    auto object = std::make_unique<Recorder>("a", log);
    Recorder* const raw = object.get();
    loop.bury(std::move(object));
    loop.queueNew(raw);
    raw->then = [&loop, raw] {
      loop.queueNew(raw);
      raw->then = [&loop] { loop.stop(); };
    };
  });
  loop.run();
  CHECK(log == Log{"a new", "a new", "~a"});
}

TEST_CASE("a turn ends once for each object that asked, after all else") {
  Loop loop;
  Log log;
  Recorder a("a", log);
  Recorder b("b", log);
  loop.post([&] {
    loop.atTurnEnd(&b);
    loop.atTurnEnd(&a);
    loop.atTurnEnd(&b);
    loop.again(&a);
    log.push_back("posted");
    loop.stop();
  });
  loop.run();
  CHECK(log == Log{"posted", "a again", "b end", "a end"});
}

TEST_CASE("a turn's end may make others dirty, but not hold the loop up") {
  Loop loop;
  struct Endless : Task {
    explicit Endless(Loop& loopIn) : loop(loopIn) {}
    void onTurnEnd() override {
      if (++runs < 100) {
        loop.atTurnEnd(this);
      } else {
        loop.stop();
      }
    }
    Loop& loop;
    int runs = 0;
  } endless(loop);
  loop.post([&] { loop.atTurnEnd(&endless); });
  loop.run();
  CHECK(endless.runs == 100);
  CHECK(loop.turns() > 10);
}

TEST_CASE("what comes after a turn is flushed in it, and stands in no queue when it asks again") {
  Loop loop;
  Log log;
  Recorder dirty("dirty", log);
  struct Last : Task {
    Last(Loop& loopIn, Recorder& dirtyIn, Log& logIn) : loop(loopIn), dirty(dirtyIn), log(logIn) {}
    void onTurnOver() override {
      log.push_back("over");
      turns.push_back(loop.turns());
      loop.atTurnEnd(&dirty);
      if (turns.size() == 3) {
        loop.stop();
      } else {
        loop.afterTurn(this);
      }
    }
    Loop& loop;
    Recorder& dirty;
    Log& log;
    std::vector<uint64_t> turns;
  } last(loop, dirty, log);
  Log busyLog;
  std::vector<std::unique_ptr<Recorder>> busy;
  loop.post([&] {
    for (int i = 0; i < 10 * Loop::kAgainPerTurn; i++) {
      busy.push_back(std::make_unique<Recorder>("busy", busyLog));
      loop.again(busy.back().get());
    }
    loop.atTurnEnd(&dirty);
    loop.afterTurn(&last);
    loop.afterTurn(&last);
  });
  loop.run();
  REQUIRE(last.turns.size() == 3);
  CHECK(last.turns[2] == last.turns[0] + 2);
  CHECK(log == Log{"dirty end", "over", "dirty end", "over", "dirty end", "over", "dirty end"});
}

TEST_CASE("a buried object dies at the end of the turn") {
  Loop loop;
  Log log;
  loop.post([&] {
    loop.bury(std::make_unique<Recorder>("a", log));
    log.push_back("buried");
    loop.post([&] {
      log.push_back("next turn");
      loop.stop();
    });
  });
  loop.run();
  CHECK(log == Log{"buried", "~a", "next turn"});
}

TEST_CASE("a buried object that a list names lives until that list ran") {
  Loop loop;
  Log log;
  loop.post([&] {
    auto again = std::make_unique<Recorder>("again", log);
    auto dirty = std::make_unique<Recorder>("dirty", log);
    Recorder* raw = again.get();
    Recorder* late = dirty.get();
    // At the end of a turn a list is filled that only the next turn runs.
    raw->then = [&loop, raw] { loop.again(raw); };
    late->then = [&loop, late] { loop.again(late); };
    loop.again(raw);
    loop.atTurnEnd(late);
    loop.bury(std::move(again));
    loop.bury(std::move(dirty));
    loop.post([&] { loop.post([&] { loop.post([&] { loop.stop(); }); }); });
  });
  loop.run();
  CHECK(log == Log{"again again", "dirty end", "again again", "dirty again", "~again", "~dirty"});
}

TEST_CASE("what is buried in the last turn dies before run() returns") {
  Log log;
  Loop loop;
  loop.post([&] {
    auto pinned = std::make_unique<Recorder>("a", log);
    Recorder* raw = pinned.get();
    raw->then = [&loop, raw] { loop.again(raw); };
    loop.atTurnEnd(raw);
    loop.bury(std::move(pinned));
  });
  loop.stop();
  loop.run();
  CHECK(log == Log{"a end", "~a"});
}

TEST_CASE("a watched descriptor reports each edge once") {
  Loop loop;
  Pair pair;
  int reads = 0;
  Reader reader([&](uint32_t events) {
    if ((events & EPOLLIN) == 0) {
      return;
    }
    reads++;
    char some[16];
    CHECK(::read(pair.one.get(), some, sizeof some) > 0);
    if (reads < 3) {
      CHECK(::write(pair.two.get(), "more", 4) == 4);
    } else {
      loop.stop();
    }
  });
  loop.watch(pair.one.get(), &reader);
  CHECK(::write(pair.two.get(), "x", 1) == 1);
  loop.run();
  CHECK(reads == 3);
}

TEST_CASE("the peer's end is an event") {
  Loop loop;
  Pair pair;
  uint32_t seen = 0;
  Reader reader([&](uint32_t events) {
    seen |= events;
    if ((events & EPOLLRDHUP) != 0) {
      loop.stop();
    }
  });
  loop.watch(pair.one.get(), &reader);
  ::shutdown(pair.two.get(), SHUT_WR);
  loop.run();
  CHECK((seen & EPOLLIN) != 0);
}

TEST_CASE("what has work left when the loop stops dies with it, on its thread") {
  struct Busy : Task {
    Busy(Loop& loopIn, std::function<void()> diesIn) : loop(loopIn), dies(std::move(diesIn)) {}
    ~Busy() override { dies(); }
    void onAgain() override { loop.again(this); }
    Loop& loop;
    std::function<void()> dies;
  };
  Loop loop;
  std::vector<std::thread::id> died;
  std::thread::id ran;
  const auto bury = [&](std::function<void()> then) {
    auto busy = std::make_unique<Busy>(loop, [&, then = std::move(then)] {
      died.push_back(std::this_thread::get_id());
      then();
    });
    loop.again(busy.get());
    loop.bury(std::move(busy));
  };
  std::thread other([&] {
    ran = std::this_thread::get_id();
    loop.post([&] {
      // Whoever dies may bury the next.
      bury([&] { bury([] {}); });
      loop.stop();
    });
    loop.run();
  });
  other.join();
  CHECK(died == std::vector<std::thread::id>{ran, ran});
}

TEST_CASE("a descriptor that is done with raises no event, though a copy keeps it open") {
  const std::function<void(Loop&, weft::UniqueFd&)> ends[] = {
      [](Loop& loop, weft::UniqueFd& fd) { loop.unwatch(fd.get()); },
      [](Loop& loop, weft::UniqueFd& fd) { loop.close(fd); },
  };
  for (const auto& end : ends) {
    Loop loop;
    Pair pair;
    Pair other;
    weft::UniqueFd copy(::dup(pair.one.get()));
    Reader gone([&](uint32_t events) { CHECK((events & EPOLLIN) == 0); });
    Reader last([&](uint32_t events) {
      if ((events & EPOLLIN) != 0) {
        loop.stop();
      }
    });
    loop.watch(copy.get(), &gone);
    end(loop, copy);
    loop.watch(other.one.get(), &last);
    CHECK(::write(pair.two.get(), "x", 1) == 1);
    CHECK(::write(other.two.get(), "x", 1) == 1);
    loop.run();
  }
}
