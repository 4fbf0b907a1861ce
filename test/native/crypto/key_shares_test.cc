// SPDX-License-Identifier: Apache-2.0
#include "crypto/key_shares.h"

#include <doctest/doctest.h>
#include <openssl/curve25519.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

namespace weft::crypto {
namespace {

/// Asks for as many as a kernel makes, in vain or not.
void ask(KeyShares& shares, uint64_t nowMicros) {
  X25519Keygen share{};
  for (size_t i = 0; i < kLanes; i++) {
    shares.take(nowMicros, share);
  }
}

TEST_CASE("each share is a key pair, and is given once") {
  KeyShares shares;
  for (size_t made = 0; made < KeyShares::kSharesMax; made += kLanes) {
    REQUIRE(shares.make(portableKernels(), 0));
  }
  CHECK(shares.size() == KeyShares::kSharesMax);
  X25519Keygen share{};
  std::set<Bytes32> seen;
  while (shares.take(0, share)) {
    Bytes32 right{};
    X25519_public_from_private(right.data(), share.privateKey.data());
    CHECK(share.publicKey == right);
    CHECK(seen.insert(share.privateKey).second);
    // Not clamped, any of them.
    CHECK((share.privateKey.front() & 7) == 7);
    CHECK((share.privateKey.back() & 0xc0) == 0x80);
  }
  CHECK(seen.size() == KeyShares::kSharesMax);
}

TEST_CASE("shares are wanted when as many were asked for lately, and there is room") {
  KeyShares shares;
  constexpr uint64_t kAge = KeyShares::kAgeMaxMicros;
  CHECK_FALSE(shares.wantsMore(0));
  ask(shares, 5);
  CHECK(shares.wantsMore(5 + kAge));
  CHECK_FALSE(shares.wantsMore(6 + kAge));
  // Who asks seldom gets none made, however often it has asked.
  X25519Keygen share{};
  for (uint64_t i = 2; i < 50; i++) {
    shares.take(i * kAge, share);
    CHECK_FALSE(shares.wantsMore(i * kAge));
  }
  for (size_t i = 0; i < KeyShares::kSharesMax / kLanes; i++) {
    ask(shares, 60 * kAge);
    CHECK(shares.wantsMore(60 * kAge));
    REQUIRE(shares.make(portableKernels(), 60 * kAge));
    CHECK(shares.wantsMore(60 * kAge) == false);
  }
}

TEST_CASE("a share that is too old is not given, and is dropped") {
  KeyShares shares;
  REQUIRE(shares.make(portableKernels(), 1000));
  X25519Keygen share{};
  CHECK(shares.take(1000 + KeyShares::kAgeMaxMicros, share));
  CHECK_FALSE(shares.take(1001 + KeyShares::kAgeMaxMicros, share));
  CHECK(shares.size() == 0);
}

TEST_CASE("those that are too old are dropped, and the younger stay what they are") {
  KeyShares shares;
  REQUIRE(shares.make(portableKernels(), 1000));
  REQUIRE(shares.make(portableKernels(), 2000));
  shares.dropOld(1000 + KeyShares::kAgeMaxMicros);
  CHECK(shares.size() == 2 * kLanes);
  shares.dropOld(1001 + KeyShares::kAgeMaxMicros);
  CHECK(shares.size() == kLanes);
  X25519Keygen share{};
  Bytes32 right{};
  REQUIRE(shares.take(2000, share));
  X25519_public_from_private(right.data(), share.privateKey.data());
  CHECK(share.publicKey == right);
  shares.dropOld(2001 + KeyShares::kAgeMaxMicros);
  CHECK(shares.size() == 0);
}

TEST_CASE("a child has no share of its parent's") {
  KeyShares shares;
  REQUIRE(shares.make(portableKernels(), 0));
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    X25519Keygen share{};
    ::_exit(shares.size() == 0 && !shares.take(0, share) ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(shares.size() == kLanes);
}

}  // namespace
}  // namespace weft::crypto
