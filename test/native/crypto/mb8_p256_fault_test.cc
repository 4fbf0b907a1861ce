// SPDX-License-Identifier: Apache-2.0
// What a computation that goes wrong gives out: nothing.
#ifdef __x86_64__
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <utility>

#include "crypto/mb8.h"
#include "crypto/mb8_p256_comb_table.h"
#include "crypto/p256_numbers.h"

using namespace weft::crypto;
using namespace weft::crypto::test;

namespace {

/// Spoils one window of the table by `change`, sees what becomes of signatures and keys, and puts
/// it back.
template <typename Change>
void refusedWhileSpoilt(size_t window, const Change& change) {
  p256::CombTable& table = const_cast<p256::CombTable&>(p256::combTable());
  auto& limbs = table.limbs[window];
  std::array<std::array<uint64_t, p256::kCombEntries>, 10> before;
  for (size_t limb = 0; limb < 10; ++limb) {
    std::copy_n(limbs[limb], p256::kCombEntries, before[limb].begin());
  }
  RandomNumbers random(6);
  std::array<EcdsaSign, kLanes> operations;
  std::array<P256Keygen, kLanes> keys;
  std::array<EcdsaSign*, kLanes> lanes;
  std::array<P256Keygen*, kLanes> keyLanes;
  for (size_t i = 0; i < kLanes; ++i) {
    const Bytes32 key = bytesOf(random.scalar().get());
    operations[i] = {random.bytes(), key, bytesOf(random.scalar().get()), {}, {}, false};
    keys[i] = {key, {}, false};
    lanes[i] = &operations[i];
    keyLanes[i] = &keys[i];
  }
  const auto isRefused = [&](bool refused) {
    avx512Kernels()->ecdsaSign(lanes);
    avx512Kernels()->p256Keygen(keyLanes);
    for (size_t i = 0; i < kLanes; ++i) {
      CAPTURE(i);
      CHECK(operations[i].ok == !refused);
      CHECK((operations[i].r == Bytes32{}) == refused);
      CHECK((operations[i].s == Bytes32{}) == refused);
      CHECK(keys[i].ok == !refused);
      CHECK((keys[i].publicKey.x == Bytes32{}) == refused);
      CHECK((keys[i].publicKey.y == Bytes32{}) == refused);
    }
  };
  isRefused(false);
  change(limbs);
  isRefused(true);
  for (size_t limb = 0; limb < 10; ++limb) {
    std::copy_n(before[limb].begin(), p256::kCombEntries, limbs[limb]);
  }
  isRefused(false);
}

bool isMissing() {
  if (avx512Kernels() == nullptr) {
    MESSAGE("skipped: this processor has no AVX-512 IFMA");
    return true;
  }
  return false;
}

using Window = uint64_t[10][p256::kCombEntries];

/// Changes a byte when the kernel comes to the middle of its table: it has read the key and the
/// nonce then, and has not begun to make s.
class ChangedMidway {
 public:
  explicit ChangedMidway(uint8_t& byte) {
    pageBytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const auto middle =
        reinterpret_cast<uintptr_t>(&p256::combTable()) + sizeof(p256::CombTable) / 2;
    page = reinterpret_cast<void*>(middle & ~(pageBytes - 1));
    changed = &byte;
    times = 0;
    struct sigaction action = {};
    action.sa_handler = onFault;
    REQUIRE(sigaction(SIGSEGV, &action, &before_) == 0);
    REQUIRE(mprotect(page, pageBytes, PROT_NONE) == 0);
  }
  ChangedMidway(const ChangedMidway&) = delete;
  ChangedMidway& operator=(const ChangedMidway&) = delete;
  ~ChangedMidway() {
    CHECK(times == 1);
    CHECK(sigaction(SIGSEGV, &before_, nullptr) == 0);
  }

 private:
  static void onFault(int) {
    times++;
    *changed ^= 0x10;
    if (mprotect(page, pageBytes, PROT_READ | PROT_WRITE) != 0) {
      _exit(1);
    }
  }

  static inline void* page = nullptr;
  static inline size_t pageBytes = 0;
  static inline uint8_t* changed = nullptr;
  static inline int times = 0;
  struct sigaction before_ = {};
};

/// Signs eight digests while what `field` names changes in one of them: that one alone
/// is refused.
template <typename Field>
void refusedWhenChanged(const Field& field) {
  RandomNumbers random(9);
  for (size_t wrong = 0; wrong < kLanes; ++wrong) {
    CAPTURE(wrong);
    std::array<EcdsaSign, kLanes> operations;
    std::array<EcdsaSign*, kLanes> lanes;
    for (size_t i = 0; i < kLanes; ++i) {
      operations[i] = {
          random.bytes(), bytesOf(random.scalar().get()), bytesOf(random.scalar().get()), {}, {},
          false};
      lanes[i] = &operations[i];
    }
    {
      const ChangedMidway midway(field(operations[wrong])[17]);
      avx512Kernels()->ecdsaSign(lanes);
    }
    for (size_t i = 0; i < kLanes; ++i) {
      CAPTURE(i);
      CHECK(operations[i].ok == (i != wrong));
      CHECK((operations[i].r == Bytes32{}) == (i == wrong));
      CHECK((operations[i].s == Bytes32{}) == (i == wrong));
    }
  }
}

}  // namespace

TEST_CASE("nothing is given out where one bit of a table is wrong") {
  if (isMissing()) {
    return;
  }
  for (size_t window = 0; window < p256::kCombWindows; window += 3) {
    CAPTURE(window);
    refusedWhileSpoilt(window, [&](Window& limbs) {
      for (uint64_t& each : limbs[window % 10]) {
        each ^= uint64_t{1} << (window % 48);
      }
    });
  }
}

TEST_CASE("nothing is given out where a look-up finds another point of the curve") {
  if (isMissing()) {
    return;
  }
  for (const size_t window : {0, 1, 20, 41, 42}) {
    CAPTURE(window);
    refusedWhileSpoilt(window, [](Window& limbs) {
      for (auto& limb : limbs) {
        for (size_t entry = 0; entry < p256::kCombEntries; entry += 2) {
          std::swap(limb[entry], limb[entry + 1]);
        }
      }
    });
  }
}

// The point is right, and so is r: that s belongs to them is what is looked at.
TEST_CASE("no signature is given out whose s was made of another key or nonce") {
  if (isMissing()) {
    return;
  }
  refusedWhenChanged([](EcdsaSign& each) -> Bytes32& { return each.privateKey; });
  refusedWhenChanged([](EcdsaSign& each) -> Bytes32& { return each.nonce; });
}
#endif
