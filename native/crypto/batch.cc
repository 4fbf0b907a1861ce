// SPDX-License-Identifier: Apache-2.0
#include "crypto/batch.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace weft::crypto {
namespace {

thread_local Batch* current = nullptr;

template <typename Operands>
void call(void (*function)(std::span<Operands* const>), std::span<void* const> operands) {
  std::array<Operands*, kLanes> typed{};
  for (size_t i = 0; i < operands.size(); i++) {
    typed[i] = static_cast<Operands*>(operands[i]);
  }
  function(std::span<Operands* const>(typed.data(), operands.size()));
}

void computeBy(const Kernels& kernels, Operation operation, std::span<void* const> operands) {
  switch (operation) {
    case Operation::kX25519Derive:
      return call(kernels.x25519Derive, operands);
    case Operation::kX25519Keygen:
      return call(kernels.x25519Keygen, operands);
    case Operation::kEcdsaVerify:
      return call(kernels.ecdsaVerify, operands);
    case Operation::kEcdsaSign:
      return call(kernels.ecdsaSign, operands);
    case Operation::kP256Keygen:
      return call(kernels.p256Keygen, operands);
    case Operation::kP256Derive:
      return call(kernels.p256Derive, operands);
  }
}

}  // namespace

const char* nameOf(Operation operation) {
  switch (operation) {
    case Operation::kX25519Derive:
      return "x25519_derive";
    case Operation::kX25519Keygen:
      return "x25519_keygen";
    case Operation::kEcdsaVerify:
      return "ecdsa_verify";
    case Operation::kEcdsaSign:
      return "ecdsa_sign";
    case Operation::kP256Keygen:
      return "p256_keygen";
    case Operation::kP256Derive:
      break;
  }
  return "p256_derive";
}

const char* nameOf(Mode mode) {
  switch (mode) {
    case Mode::kOff:
      return "off";
    case Mode::kScalar:
      return "scalar";
    case Mode::kAvx512:
      return "avx512";
    case Mode::kPortable:
      break;
  }
  return "portable";
}

const Kernels* kernelsOf(Mode mode) {
  switch (mode) {
    case Mode::kAvx512:
      return avx512Kernels();
    case Mode::kPortable:
      return &portableKernels();
    case Mode::kOff:
    case Mode::kScalar:
      break;
  }
  return nullptr;
}

BreakEvens BreakEvens::never() {
  BreakEvens all{};
  all.lanes.fill(kNever);
  return all;
}

class Batch::Run {
 public:
  Run(std::unique_ptr<FiberStack> stack, std::function<void()> body, FiberOwner& ownerIn)
      : fiber(std::move(stack), std::move(body)), owner(ownerIn) {}

  Fiber fiber;
  FiberOwner& owner;
  Answer answer = Answer::kAlone;
  bool abandoned = false;
};

Batch::Batch(Mode mode, BreakEvens breakEvens, size_t fibersMax, Clock clock,
             std::function<void()> wanted)
    : mode_(mode),
      kernels_(kernelsOf(mode)),
      breakEvens_(breakEvens),
      clock_(clock),
      wanted_(std::move(wanted)),
      stacks_(fibersMax) {
  CHECK(mode_ != Mode::kAvx512 || kernels_ != nullptr);
}

Batch::~Batch() {
  CHECK(runs_.empty());
}

Batch* Batch::current() {
  return crypto::current;
}

Batch::Run* Batch::start(std::function<void()> body, FiberOwner& owner) {
  CHECK(mode_ != Mode::kOff && running_ == nullptr);
  std::unique_ptr<FiberStack> stack = stacks_.take();
  if (stack == nullptr) {
    totals_.inlined.add(1);
    body();
    return nullptr;
  }
  runs_.push_back(std::make_unique<Run>(std::move(stack), std::move(body), owner));
  Run* const run = runs_.back().get();
  resume(run);
  if (run->fiber.ended()) {
    release(run);
    return nullptr;
  }
  begun_++;
  if (!settling_ && !std::exchange(asked_, true)) {
    wanted_();
  }
  return run;
}

void Batch::abandon(Run* run) {
  for (Queue& queue : queues_) {
    std::erase_if(queue.waiting, [run](const Waiting& waiting) { return waiting.run == run; });
  }
  std::erase(ready_, run);
  run->abandoned = true;
  resume(run);
  CHECK(run->fiber.ended());
  release(run);
}

Answer Batch::wait(Operation operation, Waiting waiting) {
  Run* const run = running_;
  CHECK(run != nullptr && Fiber::current() == &run->fiber);
  if (run->abandoned) {
    return Answer::kAbandoned;
  }
  waiting.run = run;
  Queue& queue = queues_[static_cast<size_t>(operation)];
  queue.passedOver = queue.waiting.empty() ? 0 : queue.passedOver;
  queue.waiting.push_back(waiting);
  Fiber::suspend();
  return run->abandoned ? Answer::kAbandoned : run->answer;
}

void Batch::resume(Run* run) {
  CHECK(running_ == nullptr);
  running_ = run;
  Batch* const outer = std::exchange(crypto::current, this);
  run->fiber.resume();
  crypto::current = outer;
  running_ = nullptr;
  computeDue();  // the one that it joined, if any, may be full now
}

std::unique_ptr<Batch::Run> Batch::release(Run* run) {
  const auto found =
      std::find_if(runs_.begin(), runs_.end(), [run](const auto& one) { return one.get() == run; });
  CHECK(found != runs_.end());
  std::unique_ptr<Run> released = std::move(*found);
  *found = std::move(runs_.back());
  runs_.pop_back();
  stacks_.giveBack(released->fiber.takeStack());
  return released;
}

bool Batch::Queue::isDue() const {
  return waiting.size() >= kLanes || (!waiting.empty() && passedOver >= kPassedOverMax);
}

// Each that is computed passes over the others, and may make one due.
void Batch::computeDue() {
  const auto next = [this] {
    return std::find_if(queues_.begin(), queues_.end(),
                        [](const Queue& one) { return one.isDue(); });
  };
  for (auto due = next(); due != queues_.end(); due = next()) {
    computeQueue(*due);
  }
}

void Batch::computeQueue(Queue& queue) {
  const auto operation = static_cast<size_t>(&queue - queues_.data());
  const size_t taken = std::min(queue.waiting.size(), kLanes);
  const bool wide = kernels_ != nullptr && taken >= breakEvens_.lanes[operation];
  std::array<void*, kLanes> operands{};
  size_t filled = 0;
  const uint64_t start = clock_();
  for (const Waiting& one : std::span(queue.waiting).first(taken)) {
    const bool computed = wide && one.prepare(one.context);
    if (computed) {
      operands[filled++] = one.operands;
    }
    one.run->answer = computed ? Answer::kComputed : Answer::kAlone;
    ready_.push_back(one.run);
  }
  queue.waiting.erase(queue.waiting.begin(), queue.waiting.begin() + static_cast<ptrdiff_t>(taken));
  for (Queue& each : queues_) {
    each.passedOver = &each == &queue ? 0 : each.passedOver + 1;
  }
  if (filled > 0) {
    computeBy(*kernels_, static_cast<Operation>(operation), std::span(operands).first(filled));
    totals_.operations[operation].calls[filled - 1].add(1);
    totals_.operations[operation].laneNanoseconds.add(clock_() - start);
  }
}

Batch::Stopwatch::Stopwatch(Batch& batch, Operation operation)
    : batch_(batch), operation_(operation), start_(batch.clock_()) {}

Batch::Stopwatch::~Stopwatch() {
  BatchTotals::One& totals = batch_.totals_.operations[static_cast<size_t>(operation_)];
  totals.scalar.add(1);
  totals.scalarNanoseconds.add(batch_.clock_() - start_);
}

bool Batch::takeShare(X25519Keygen& share) {
  return kernels_ != nullptr && shares_.take(clock_() / 1000, share);
}

bool Batch::makeShares() {
  constexpr auto kKeygen = static_cast<size_t>(Operation::kX25519Keygen);
  const uint64_t now = clock_() / 1000;
  if (kernels_ == nullptr || breakEvens_.lanes[kKeygen] > kLanes || !shares_.wantsMore(now) ||
      !shares_.make(*kernels_, now)) {
    return false;
  }
  totals_.keyShares.add(kLanes);
  return true;
}

void Batch::dropOldShares() {
  shares_.dropOld(clock_() / 1000);
}

// Null when all are empty.
Batch::Queue* Batch::fullest() {
  const auto found =
      std::max_element(queues_.begin(), queues_.end(), [](const Queue& left, const Queue& right) {
        return left.waiting.size() < right.waiting.size();
      });
  return found->waiting.empty() ? nullptr : &*found;
}

void Batch::resumeFirst() {
  Run* const run = ready_.front();
  ready_.pop_front();
  resume(run);
  if (run->fiber.ended()) {
    const std::unique_ptr<Run> ended = release(run);
    ended->owner.onFiberEnd();
  }
}

bool Batch::settle(uint64_t nanosecondsMax) {
  CHECK(!settling_ && running_ == nullptr);
  settling_ = true;
  const uint64_t start = clock_();
  bool more = true;
  do {
    if (!ready_.empty()) {
      resumeFirst();
    } else if (Queue* const queue = fullest()) {
      computeQueue(*queue);
      computeDue();
    }
    more = !ready_.empty() || fullest() != nullptr;
  } while (more && clock_() - start < nanosecondsMax);
  settling_ = false;
  asked_ = false;
  return !more;
}

}  // namespace weft::crypto
