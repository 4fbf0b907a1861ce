// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/status.h"

namespace weft::crypto {

/// Memory for one fiber: a guard page below, so that what overflows faults, and pages that take no
/// memory until they are touched.
class FiberStack {
 public:
  /// What is wiped of it: the upper part. A test looks that no handshake goes deeper.
  static constexpr size_t kWipedBytes = size_t{32} << 10;

  static Result<std::unique_ptr<FiberStack>> create();
  FiberStack(const FiberStack&) = delete;
  FiberStack& operator=(const FiberStack&) = delete;
  ~FiberStack();

  std::byte* bottom() const { return bottom_; }  ///< Lowest usable address, above the guard page.
  size_t size() const { return size_; }
  /// Zeroes its upper part, where remains of keys may lie.
  void wipe();

 private:
  FiberStack(std::byte* bottom, size_t size) : bottom_(bottom), size_(size) {}
  std::byte* const bottom_;
  const size_t size_;
};

/// An entry of the TLS library's error queue, but for its mark and its text: the library sets no
/// mark and suppresses no error anywhere (the build looks that it does not), and nobody reads the
/// text.
struct LibraryError {
  uint32_t packed;
  const char* file;
  int line;
};

/// A function call that can stop half way and go on later, on a stack of its own: for code that
/// waits in the middle of a library. One thread creates, resumes and destroys it: the library's
/// code may keep to itself what belongs to the thread. To resume it by another ends the process.
///
/// What the TLS library keeps for a thread is kept for each fiber: one that stops takes its errors
/// out of the queue, and puts them back when it goes on. The body must not throw, and must not hold
/// a lock when it suspends.
class Fiber {
 public:
  Fiber(std::unique_ptr<FiberStack> stack, std::function<void()> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  /// The body must have ended.
  ~Fiber();

  /// Runs the body until it ends or suspends. Not from a fiber.
  void resume();
  bool ended() const { return ended_; }
  /// After the end: what may serve the next one.
  std::unique_ptr<FiberStack> takeStack();

  /// The fiber that runs on this thread; null on the thread's own stack.
  static Fiber* current();
  /// Stops the current fiber until it is resumed.
  static void suspend();

 private:
  static void enter(void* self);
  void switchIn();
  void switchOut();

  const void* const owner_;  // an address that is its thread's alone
  std::unique_ptr<FiberStack> stack_;
  std::function<void()> body_;
  void* at_ = nullptr;                // where the fiber goes on
  void* caller_ = nullptr;            // where its resumer does
  std::vector<LibraryError> errors_;  // the queue, while it is suspended
  bool ended_ = false;
  // What the sanitizers keep of a stack that does not run.
  void* fake_ = nullptr;
  void* callerFake_ = nullptr;
  const void* callerBottom_ = nullptr;
  size_t callerSize_ = 0;
  void* thread_ = nullptr;
  void* callerThread_ = nullptr;
};

/// Stacks of fibers that ended, kept for the next: so many at most, beyond which they are freed.
class FiberStacks {
 public:
  /// `stacksMax` is how many fibers may have one at the same time.
  explicit FiberStacks(size_t stacksMax) : stacksMax_(stacksMax) {}

  /// Null when all are in use, or memory is short.
  std::unique_ptr<FiberStack> take();
  void giveBack(std::unique_ptr<FiberStack> stack);
  size_t inUse() const { return inUse_; }

 private:
  const size_t stacksMax_;
  size_t inUse_ = 0;
  std::vector<std::unique_ptr<FiberStack>> spare_;
};

}  // namespace weft::crypto
