// SPDX-License-Identifier: Apache-2.0
#include "crypto/fiber.h"

#include <openssl/err.h>
#include <openssl/mem.h>
#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "crypto/fiber_switch.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEFT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WEFT_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define WEFT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WEFT_TSAN 1
#endif

#ifdef WEFT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEFT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace weft::crypto {
namespace {

/// The sanitizers put room round everything.
#ifdef WEFT_SANITIZED
constexpr size_t kStackBytes = 1 << 20;
#else
constexpr size_t kStackBytes = 128 << 10;
#endif
/// Whole pages, whatever their size.
constexpr size_t kGuardBytes = 64 << 10;
/// madvise()'s MADV_GUARD_INSTALL, from Linux 6.13 on.
constexpr int kInstallGuard = 102;
/// Stacks that wait for a fiber; a burst's are freed.
constexpr size_t kSpareMax = 64;

thread_local Fiber* running = nullptr;

// Where the kernel can, without a mapping of its own: of those a process has 65,530, unless
// somebody allowed more, and one for each guard and each stack would be too many for workers in a
// storm.
bool makeGuard(void* at) {
  return ::madvise(at, kGuardBytes, kInstallGuard) == 0 ||
         ::mprotect(at, kGuardBytes, PROT_NONE) == 0;
}

}  // namespace

Result<std::unique_ptr<FiberStack>> FiberStack::create() {
  void* const base = ::mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (base == MAP_FAILED) {
    return Status::fromErrno("stack of a fiber", errno);
  }
  auto* const bottom = static_cast<std::byte*>(base) + kGuardBytes;
  std::unique_ptr<FiberStack> stack(new FiberStack(bottom, kStackBytes));
  if (!makeGuard(base)) {
    return Status::fromErrno("stack of a fiber", errno);
  }
  return stack;
}

FiberStack::~FiberStack() {
  ::munmap(bottom_ - kGuardBytes, kGuardBytes + size_);
}

void FiberStack::wipe() {
  std::byte* const wiped = bottom_ + size_ - kWipedBytes;
#ifdef WEFT_ASAN
  ASAN_UNPOISON_MEMORY_REGION(bottom_, size_);  // the frame that never returned, too
#endif
  OPENSSL_cleanse(wiped, kWipedBytes);
}

Fiber::Fiber(std::unique_ptr<FiberStack> stack, std::function<void()> body)
    : owner_(&running), stack_(std::move(stack)), body_(std::move(body)) {
  at_ = newFiberFrame(stack_->bottom() + stack_->size(), &Fiber::enter, this);
#ifdef WEFT_TSAN
  thread_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  CHECK(ended_);
#ifdef WEFT_TSAN
  __tsan_destroy_fiber(thread_);
#endif
}

void Fiber::resume() {
  CHECK(running == nullptr && !ended_ && owner_ == &running);
  running = this;
#ifdef WEFT_ASAN
  __sanitizer_start_switch_fiber(&callerFake_, stack_->bottom(), stack_->size());
#endif
#ifdef WEFT_TSAN
  callerThread_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(thread_, 0);
#endif
  weft_fiber_switch(&caller_, at_);
#ifdef WEFT_ASAN
  __sanitizer_finish_switch_fiber(callerFake_, nullptr, nullptr);
#endif
  running = nullptr;
  if (ended_) {
    ERR_clear_error();
  }
}

// On the fiber's stack, from here on.
void Fiber::enter(void* self) {
  auto* const fiber = static_cast<Fiber*>(self);
  fiber->switchIn();
  fiber->body_();
  fiber->ended_ = true;
  fiber->switchOut();
  CHECK(false);  // what has ended is not resumed
}

void Fiber::switchIn() {
#ifdef WEFT_ASAN
  __sanitizer_finish_switch_fiber(fake_, &callerBottom_, &callerSize_);
#endif
  // What another fiber, or work outside of any, left is none of this one's.
  ERR_clear_error();
  for (const LibraryError& error : errors_) {
    ERR_put_error(ERR_GET_LIB(error.packed), 0, ERR_GET_REASON(error.packed), error.file,
                  static_cast<unsigned>(error.line));
  }
  errors_.clear();
}

void Fiber::switchOut() {
#ifdef WEFT_ASAN
  __sanitizer_start_switch_fiber(ended_ ? nullptr : &fake_, callerBottom_, callerSize_);
#endif
#ifdef WEFT_TSAN
  __tsan_switch_to_fiber(callerThread_, 0);
#endif
  weft_fiber_switch(&at_, caller_);
}

void Fiber::suspend() {
  Fiber* const self = running;
  CHECK(self != nullptr);
  LibraryError error{};
  while ((error.packed = ERR_get_error_line(&error.file, &error.line)) != 0) {
    self->errors_.push_back(error);
  }
  self->switchOut();
  self->switchIn();
}

Fiber* Fiber::current() {
  return running;
}

std::unique_ptr<FiberStack> Fiber::takeStack() {
  CHECK(ended_);
  return std::move(stack_);
}

std::unique_ptr<FiberStack> FiberStacks::take() {
  if (inUse_ >= stacksMax_) {
    return nullptr;
  }
  if (spare_.empty()) {
    Result<std::unique_ptr<FiberStack>> made = FiberStack::create();
    if (!made.ok()) {
      return nullptr;
    }
    inUse_++;
    return std::move(made).value();
  }
  std::unique_ptr<FiberStack> stack = std::move(spare_.back());
  spare_.pop_back();
  inUse_++;
  return stack;
}

void FiberStacks::giveBack(std::unique_ptr<FiberStack> stack) {
  stack->wipe();
  inUse_--;
  if (spare_.size() < kSpareMax) {
    spare_.push_back(std::move(stack));
  }
}

}  // namespace weft::crypto
