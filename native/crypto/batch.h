// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "crypto/fiber.h"
#include "crypto/key_shares.h"
#include "crypto/mb8.h"

namespace weft::crypto {

/// What is gathered, each in a queue of its own.
enum class Operation : uint8_t {
  kX25519Derive,
  kX25519Keygen,
  kEcdsaVerify,
  kEcdsaSign,
  kP256Keygen,
  kP256Derive,
};
constexpr size_t kOperations = 6;
/// For metrics: "x25519_derive" and the like.
const char* nameOf(Operation operation);

/// How handshakes compute.
enum class Mode : uint8_t {
  kOff,     ///< In the library, where they stand.
  kScalar,  ///< On fibers, one operation after the other.
  kAvx512,  ///< On fibers, eight at once where enough are there.
  /// On fibers, gathered as in kAvx512, and computed by the portable row: for tests of all that is
  /// around the kernels, on any processor. That row is no quicker; neither its timing nor what it
  /// leaves on the stack is proved.
  kPortable,
};
const char* nameOf(Mode mode);
/// The row that computes what is gathered in that mode. Null in those that do not, and where the
/// processor does not have it.
const Kernels* kernelsOf(Mode mode);

/// From how many operations on eight lanes are quicker than one after the other; kNever where they
/// never are.
struct BreakEvens {
  static constexpr uint8_t kNever = kLanes + 1;
  std::array<uint8_t, kOperations> lanes;

  static BreakEvens never();
};

/// A count with one writer, that any thread may read.
class Tally {
 public:
  void add(uint64_t n) { value_.store(get() + n, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

/// What a batch has done.
struct BatchTotals {
  struct One {
    /// [n-1]: calls of a kernel with n lanes filled.
    std::array<Tally, kLanes> calls;
    Tally scalar;             ///< Operations done one after the other.
    Tally laneNanoseconds;    ///< In those calls, with what is made ready for them.
    Tally scalarNanoseconds;  ///< In those operations.
  };
  std::array<One, kOperations> operations;
  Tally inlined;    ///< Steps of handshakes that ran without a fiber: all stacks were in use.
  Tally keyShares;  ///< Made before anybody asked. They are none of the operations above.
};

/// What became of an operation that was queued.
enum class Answer : uint8_t {
  kComputed,   ///< It is done.
  kAlone,      ///< Too few are there: the caller does it as it would without a batch.
  kAbandoned,  ///< Nobody wants it any more.
};

/// Nanoseconds since some time: base/clock.h has them, which nothing here includes.
using Clock = uint64_t (*)();

/// Whoever waits for code that runs on a fiber.
class FiberOwner {
 public:
  virtual ~FiberOwner() = default;
  /// The body has ended, in settle(). Not called where it ended in start() or abandon().
  virtual void onFiberEnd() = 0;
};

/// One thread's queues of public-key operations, and the fibers that wait for them.
///
/// It never waits on a clock. What runs goes on until it needs an operation; a queue with kLanes of
/// them is computed at once; and when nothing else can run, settle() computes the fullest queue, by
/// a kernel if that is worth it, until no queue holds anything. So a lone handshake waits for
/// nobody, and the more there are the fuller lanes become. One that waited while kPassedOverMax
/// others were computed is computed at once, too.
class Batch {
 public:
  /// Computations of other queues for which one waits, so that a storm of one operation leaves none
  /// of another behind.
  static constexpr unsigned kPassedOverMax = 16;

  /// `wanted` is called when something begins to wait for settle().
  Batch(Mode mode, BreakEvens breakEvens, size_t fibersMax, Clock clock,
        std::function<void()> wanted);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch();

  /// Code on a fiber of this batch: its identity.
  class Run;

  /// Runs `body` until it ends or has to wait. Null when it has ended: then `owner` is not told.
  /// Where no stack is left it runs to its end on the caller's.
  Run* start(std::function<void()> body, FiberOwner& owner);
  /// Runs a body that waits to its end: all operations that it asks for fail at once.
  void abandon(Run* run);

  /// From a fiber of this batch: queues `operation`, whose operands are of mb8.h's type, and
  /// returns when it is decided what becomes of it. `prepare` is called before kComputed and sets
  /// them, outside of the fiber; where it says false the answer is kAlone.
  template <typename Operands, typename Prepare>
  Answer compute(Operation operation, Operands& operands, Prepare prepare) {
    const auto call = [](void* function) { return (*static_cast<Prepare*>(function))(); };
    return wait(operation, {nullptr, &operands, call, &prepare});
  }
  /// After kAlone: runs `work`, which does the operation, and counts it.
  template <typename Work>
  auto alone(Operation operation, Work work) {
    const Stopwatch watch(*this, operation);
    return work();
  }
  /// The batch whose fiber runs on this thread; null outside of any.
  static Batch* current();

  /// Computes, and lets fibers go on, until nothing waits, or `nanosecondsMax` are over: then
  /// false, and there is more to do. One call does one step at least, and is late by one at most.
  /// Not from a fiber.
  bool settle(uint64_t nanosecondsMax);

  /// How many bodies have had to wait, since ever: a look at it later tells whether more do.
  uint64_t begun() const { return begun_; }

  /// A key share that was made before; false when there is none, as always without kernels.
  bool takeShare(X25519Keygen& share);
  /// For when there is nothing else to do: makes some key shares, if as many were asked for lately.
  /// True when it did.
  bool makeShares();
  /// Wipes key shares that are too old.
  void dropOldShares();

  Mode mode() const { return mode_; }
  const BatchTotals& totals() const { return totals_; }

 private:
  struct Waiting {
    Run* run;
    void* operands;
    bool (*prepare)(void* context);
    void* context;
  };
  struct Queue {
    std::vector<Waiting> waiting;
    unsigned passedOver = 0;  // computations of other queues since something waits here

    bool isDue() const;
  };
  /// Adds what an operation takes by itself to the totals.
  class Stopwatch {
   public:
    Stopwatch(Batch& batch, Operation operation);
    ~Stopwatch();

   private:
    Batch& batch_;
    const Operation operation_;
    const uint64_t start_;
  };

  Answer wait(Operation operation, Waiting waiting);
  void resume(Run* run);
  void resumeFirst();
  void computeQueue(Queue& queue);
  void computeDue();
  Queue* fullest();
  std::unique_ptr<Run> release(Run* run);

  const Mode mode_;
  const Kernels* const kernels_;
  const BreakEvens breakEvens_;
  const Clock clock_;
  const std::function<void()> wanted_;
  FiberStacks stacks_;
  KeyShares shares_;
  std::array<Queue, kOperations> queues_;
  std::deque<Run*> ready_;                  // decided, and not resumed
  std::vector<std::unique_ptr<Run>> runs_;  // all that have not ended
  Run* running_ = nullptr;
  bool settling_ = false;
  uint64_t begun_ = 0;
  bool asked_ = false;  // wanted_ was called since the last settle()
  BatchTotals totals_;
};

}  // namespace weft::crypto
