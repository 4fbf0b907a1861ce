// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>

#include "crypto/operations.h"
#include "crypto/order.h"

namespace weft::crypto {
namespace {

/// Iterates `count` times as RFC 7748 section 5.2 has it: lane `own` from 9, the others from other
/// numbers. The last output of `own`.
Bytes32 iterated(const Kernels& row, size_t own, size_t count) {
  std::array<X25519Derive, kLanes> lanes{};
  for (size_t lane = 0; lane < kLanes; lane++) {
    lanes[lane].privateKey[0] = static_cast<uint8_t>(9 + (lane + kLanes - own) % kLanes);
    lanes[lane].peerPublic = lanes[lane].privateKey;
  }
  for (size_t i = 0; i < count; i++) {
    run(row, lanes.data(), kLanes);
    for (X25519Derive& lane : lanes) {
      lane.peerPublic = lane.privateKey;
      lane.privateKey = lane.shared;
    }
  }
  return lanes[own].shared;
}

void checkIterations(const Kernels& row) {
  const Bytes32 afterOne =
      order::fromHex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
  const Bytes32 afterThousand =
      order::fromHex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
  for (size_t lane = 0; lane < kLanes; lane++) {
    INFO(std::string(row.name), ", lane ", lane);
    CHECK(iterated(row, lane, 1) == afterOne);
    CHECK(iterated(row, lane, 1000) == afterThousand);
  }
}

}  // namespace

TEST_CASE("X25519: a thousand iterations end where RFC 7748 says, in every lane") {
  checkIterations(portableKernels());
  if (const Kernels* const row = avx512Kernels()) {
    checkIterations(*row);
  } else {
    MESSAGE("this processor has no AVX-512 IFMA: that row is not tested");
  }
}

TEST_CASE("X25519: fewer operations than lanes leave other memory alone") {
  const Kernels* const row = avx512Kernels();
  if (row == nullptr) {
    MESSAGE("this processor has no AVX-512 IFMA: nothing to test");
    return;
  }
  std::array<X25519Keygen, kLanes> lanes{};
  for (X25519Keygen& lane : lanes) {
    lane.publicKey.fill(0xA5);
  }
  const Bytes32 untouched = lanes[3].publicKey;
  run(*row, lanes.data(), 3);
  CHECK(lanes[2].publicKey == lanes[0].publicKey);
  CHECK(lanes[2].publicKey != untouched);
  for (size_t lane = 3; lane < kLanes; lane++) {
    CHECK(lanes[lane].publicKey == untouched);
  }
}

}  // namespace weft::crypto
