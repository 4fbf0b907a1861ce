// SPDX-License-Identifier: Apache-2.0
// What a computation that goes wrong gives out: nothing.
#ifdef __x86_64__
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
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
#endif
