// SPDX-License-Identifier: Apache-2.0
#include "crypto/vectors.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>

#include "crypto/known_vectors.h"

namespace weft::crypto::vectors {
namespace {

/// Vectors of Wycheproof, as the test run wrote them to a file.
Vectors wycheproof() {
  const char* const set = std::getenv("WEFT_TEST_VECTORS");
  const std::string path = set == nullptr ? "build/test-vectors.txt" : set;
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.is_open(), path, " is not there: ./weft test unit fetches it");
  Vectors vectors;
  for (std::string line; std::getline(file, line);) {
    REQUIRE_MESSAGE(addLine(line, vectors), line);
  }
  return vectors;
}

Vectors known() {
  Vectors vectors;
  for (const std::span<const char* const> lines :
       {std::span<const char* const>(kNist), std::span<const char* const>(kRfc)}) {
    for (const char* const line : lines) {
      REQUIRE_MESSAGE(addLine(line, vectors), line);
    }
  }
  return vectors;
}

template <typename Operation>
void checkRow(const Kernels& row, const std::vector<Vector<Operation>>& vectors) {
  for (const std::string& each : wrong<Operation>(row, vectors)) {
    FAIL_CHECK(std::string(row.name) << ": " << each);
  }
}

void checkRow(const Kernels& row, const Vectors& vectors) {
  std::apply([&](const auto&... each) { (checkRow(row, each), ...); }, vectors);
}

void checkRows(const Vectors& vectors) {
  checkRow(portableKernels(), vectors);
  if (const Kernels* const row = avx512Kernels()) {
    checkRow(*row, vectors);
  } else {
    MESSAGE("this processor has no AVX-512 IFMA: that row is not tested");
  }
}

template <typename Operation>
size_t count(const Vectors& vectors) {
  return std::get<std::vector<Vector<Operation>>>(vectors).size();
}

}  // namespace

TEST_CASE("crypto: NIST's and the RFCs' vectors hold in every lane of both rows") {
  const Vectors vectors = known();
  CHECK(count<EcdsaVerify>(vectors) == 17);
  CHECK(count<EcdsaSign>(vectors) == 17);
  CHECK(count<P256Keygen>(vectors) == 11);
  CHECK(count<P256Derive>(vectors) == 30);
  CHECK(count<X25519Derive>(vectors) == 2);
  checkRows(vectors);
}

TEST_CASE("crypto: Wycheproof's vectors hold in every lane of both rows") {
  const Vectors vectors = wycheproof();
  CHECK(count<EcdsaVerify>(vectors) == 490);
  CHECK(count<P256Derive>(vectors) == 694);
  CHECK(count<X25519Derive>(vectors) == 518);
  checkRows(vectors);
}

TEST_CASE("crypto: a vector that is wrong is found in every lane") {
  Vectors vectors = known();
  auto& derives = std::get<std::vector<Vector<X25519Derive>>>(vectors);
  derives[1].wanted.shared[31] ^= 1;
  // Two vectors fill the lanes in turn: the second has four of them in each of the turns.
  CHECK(wrong<X25519Derive>(portableKernels(), derives).size() == 4 * kLanes);
}

}  // namespace weft::crypto::vectors
