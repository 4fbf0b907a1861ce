// SPDX-License-Identifier: Apache-2.0
#include "crypto/mb8.h"

#include <doctest/doctest.h>

#include <string>

#include "crypto/differential.h"

namespace weft::crypto {
namespace {

constexpr uint64_t kSeed = 20261130;
// The sanitizers make each take several times as long; bench and proofs run a million.
constexpr size_t kCount = 20'000;

template <typename Operation>
void checkAgainstPortable() {
  const Kernels* const row = avx512Kernels();
  if (row == nullptr) {
    MESSAGE("this processor has no AVX-512 IFMA: nothing to compare");
    return;
  }
  for (const std::string& each : differences<Operation>(*row, kCount, kSeed)) {
    FAIL_CHECK(each);
  }
}

}  // namespace

TEST_CASE("crypto: X25519 derive agrees with AWS-LC") {
  checkAgainstPortable<X25519Derive>();
}
TEST_CASE("crypto: X25519 keygen agrees with AWS-LC") {
  checkAgainstPortable<X25519Keygen>();
}
TEST_CASE("crypto: ECDSA verify agrees with AWS-LC") {
  checkAgainstPortable<EcdsaVerify>();
}
TEST_CASE("crypto: ECDSA sign agrees with AWS-LC") {
  checkAgainstPortable<EcdsaSign>();
}
TEST_CASE("crypto: P-256 keygen agrees with AWS-LC") {
  checkAgainstPortable<P256Keygen>();
}
TEST_CASE("crypto: P-256 derive agrees with AWS-LC") {
  checkAgainstPortable<P256Derive>();
}

TEST_CASE("crypto: a row that errs in one lane is found") {
  static const auto wrongInLaneFive = [](std::span<X25519Keygen* const> operations) {
    portableKernels().x25519Keygen(operations);
    if (operations.size() > 5) {
      operations[5]->publicKey[0] ^= 1;
    }
  };
  Kernels row = portableKernels();
  row.x25519Keygen = wrongInLaneFive;
  CHECK(differences<X25519Keygen>(row, 1000, kSeed).size() >= 10);
  CHECK(differences<X25519Derive>(row, 1000, kSeed).empty());
}

}  // namespace weft::crypto
