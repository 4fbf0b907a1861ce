// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <vector>

#include "crypto/mb8.h"
#include "crypto/p256_numbers.h"
#include "crypto/p256_rows.h"
#include "crypto/p256_scalars.h"

using namespace weft::crypto;
using namespace weft::crypto::test;

namespace {

P256Keygen operationOf(const Bytes32& privateKey) {
  P256Keygen out{privateKey, {}, false};
  out.publicKey.x.fill(0x5a);
  out.publicKey.y.fill(0x5a);
  return out;
}

P256Keygen expectedOf(const P256Keygen& operation) {
  const Number d = numberOf(operation.privateKey);
  if (BN_is_zero(d.get()) || BN_cmp(d.get(), order()) >= 0) {
    return {operation.privateKey, {}, false};
  }
  return {operation.privateKey, coordinatesOf(combination(d.get(), nullptr, nullptr).get()), true};
}

void compareAll(const std::vector<P256Keygen>& operations) {
  std::vector<P256Keygen> expected;
  for (const P256Keygen& each : operations) {
    expected.push_back(expectedOf(each));
  }
  for (const Kernels* const row : rows()) {
    CAPTURE(row->name);
    inEveryLane(row->p256Keygen, operations, [&](size_t place, const P256Keygen& made) {
      CAPTURE(place);
      CHECK(made.ok == expected[place].ok);
      CHECK(made.publicKey.x == expected[place].publicKey.x);
      CHECK(made.publicKey.y == expected[place].publicKey.y);
    });
  }
}

}  // namespace

TEST_CASE("public keys of P-256 are the library's") {
  RandomNumbers random(5);
  std::vector<P256Keygen> operations;
  for (int i = 0; i < 200; ++i) {
    operations.push_back(operationOf(bytesOf(random.scalar().get())));
  }
  compareAll(operations);
}

TEST_CASE("public keys of edges of the range are the library's, and others are refused") {
  std::vector<P256Keygen> operations;
  for (const Bytes32& edge : edgeScalars()) {
    operations.push_back(operationOf(edge));
  }
  for (size_t i = 0; const Bytes32& bad : outOfRange()) {
    operations.insert(operations.begin() + static_cast<ptrdiff_t>(7 * i++), operationOf(bad));
  }
  compareAll(operations);
}
