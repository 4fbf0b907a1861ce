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

TEST_CASE("each share is a key pair, and is given once") {
  KeyShares shares;
  X25519Keygen share{};
  CHECK_FALSE(shares.take(0, share));
  while (shares.wantsMore()) {
    REQUIRE(shares.make(portableKernels(), 0));
  }
  CHECK(shares.size() == KeyShares::kSharesMax);
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

TEST_CASE("a share that is too old is thrown away") {
  KeyShares shares;
  REQUIRE(shares.make(portableKernels(), 1000));
  X25519Keygen share{};
  CHECK(shares.take(1000 + KeyShares::kAgeMaxMicros, share));
  CHECK_FALSE(shares.take(1001 + KeyShares::kAgeMaxMicros, share));
  CHECK(shares.size() == 0);
}

TEST_CASE("a child has no share of its parent's") {
  KeyShares shares;
  REQUIRE(shares.make(portableKernels(), 0));
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    X25519Keygen share{};
    ::_exit(shares.size() == 0 && !shares.take(0, share) && shares.wantsMore() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(shares.size() == kLanes);
}

}  // namespace
}  // namespace weft::crypto
