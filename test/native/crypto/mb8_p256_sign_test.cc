// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <openssl/ec_key.h>
#include <openssl/ecdsa.h>
#include <openssl/nid.h>

#include <vector>

#include "crypto/mb8.h"
#include "crypto/p256_numbers.h"
#include "crypto/p256_rows.h"
#include "crypto/p256_scalars.h"

using namespace weft::crypto;
using namespace weft::crypto::test;

namespace {

EcdsaSign operationOf(const Bytes32& digest, const Bytes32& privateKey, const Bytes32& nonce) {
  EcdsaSign out{digest, privateKey, nonce, {}, {}, false};
  out.r.fill(0x5a);
  out.s.fill(0x5a);
  return out;
}

/// What a kernel has to give for `operation`, by the library's numbers and points.
EcdsaSign expectedOf(const EcdsaSign& operation) {
  EcdsaSign out = operationOf(operation.digest, operation.privateKey, operation.nonce);
  out.r = {};
  out.s = {};
  const Number k = numberOf(operation.nonce);
  const Number d = numberOf(operation.privateKey);
  const auto isScalar = [](const Number& a) {
    return !BN_is_zero(a.get()) && BN_cmp(a.get(), order()) < 0;
  };
  if (!isScalar(k) || !isScalar(d)) {
    return out;
  }
  const Point point = combination(k.get(), nullptr, nullptr);
  const Number r = modulo(numberOf(coordinatesOf(point.get()).x).get(), order());
  const Number rd = product(r.get(), d.get(), order());
  const Number e = modulo(sum(numberOf(operation.digest).get(), rd.get()).get(), order());
  const Number s = product(reciprocal(k.get(), order()).get(), e.get(), order());
  out.ok = !BN_is_zero(r.get()) && !BN_is_zero(s.get());
  if (out.ok) {
    out.r = bytesOf(r.get());
    out.s = bytesOf(s.get());
  }
  return out;
}

/// True where the library verifies the signature.
bool isVerified(const EcdsaSign& operation) {
  const bssl::UniquePtr<EC_KEY> key(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
  const Number d = numberOf(operation.privateKey);
  const Point point = combination(d.get(), nullptr, nullptr);
  REQUIRE(EC_KEY_set_public_key(key.get(), point.get()) == 1);
  const bssl::UniquePtr<ECDSA_SIG> signature(ECDSA_SIG_new());
  REQUIRE(ECDSA_SIG_set0(signature.get(), numberOf(operation.r).release(),
                         numberOf(operation.s).release()) == 1);
  return ECDSA_do_verify(operation.digest.data(), operation.digest.size(), signature.get(),
                         key.get()) == 1;
}

/// Runs `operations` on every row, and compares.
void compareAll(const std::vector<EcdsaSign>& operations) {
  std::vector<EcdsaSign> expected;
  for (const EcdsaSign& each : operations) {
    expected.push_back(expectedOf(each));
    if (expected.back().ok) {
      CHECK(isVerified(expected.back()));
    }
  }
  for (const Kernels* const row : rows()) {
    CAPTURE(row->name);
    inEveryLane(row->ecdsaSign, operations, [&](size_t place, const EcdsaSign& signedOne) {
      CAPTURE(place);
      CHECK(signedOne.ok == expected[place].ok);
      CHECK(signedOne.r == expected[place].r);
      CHECK(signedOne.s == expected[place].s);
    });
  }
}

}  // namespace

TEST_CASE("signatures of P-256 are what the library's numbers say") {
  RandomNumbers random(1);
  std::vector<EcdsaSign> operations;
  for (int i = 0; i < 200; ++i) {
    operations.push_back(operationOf(random.bytes(), bytesOf(random.scalar().get()),
                                     bytesOf(random.scalar().get())));
  }
  compareAll(operations);
}

TEST_CASE("signatures with edges of nonces, keys and digests are what the library's numbers say") {
  RandomNumbers random(2);
  std::vector<EcdsaSign> operations;
  for (const Bytes32& edge : edgeScalars()) {
    operations.push_back(operationOf(random.bytes(), bytesOf(random.scalar().get()), edge));
    operations.push_back(operationOf(random.bytes(), edge, bytesOf(random.scalar().get())));
    operations.push_back(operationOf(edge, edge, edge));
  }
  for (const Bytes32& edge : outOfRange()) {
    // A digest may be any number.
    operations.push_back(
        operationOf(edge, bytesOf(random.scalar().get()), bytesOf(random.scalar().get())));
  }
  compareAll(operations);
}

TEST_CASE("a signature is refused where a number is out of range, and its neighbours are not") {
  RandomNumbers random(3);
  std::vector<EcdsaSign> operations;
  for (const Bytes32& bad : outOfRange()) {
    const Bytes32 good = bytesOf(random.scalar().get());
    operations.push_back(operationOf(random.bytes(), bad, good));
    operations.push_back(operationOf(random.bytes(), good, good));
    operations.push_back(operationOf(random.bytes(), good, bad));
    operations.push_back(operationOf(random.bytes(), bad, bad));
  }
  compareAll(operations);
}

TEST_CASE("a signature is refused where s is 0") {
  RandomNumbers random(4);
  std::vector<EcdsaSign> operations;
  for (int i = 0; i < 8; ++i) {
    EcdsaSign operation =
        operationOf({}, bytesOf(random.scalar().get()), bytesOf(random.scalar().get()));
    const Bytes32 r = expectedOf(operation).r;
    // e = -r * d.
    const Number rd = product(numberOf(r).get(), numberOf(operation.privateKey).get(), order());
    operation.digest = bytesOf(difference(order(), rd.get()).get());
    CHECK_FALSE(expectedOf(operation).ok);
    operations.push_back(operation);
    operation.digest = random.bytes();
    operations.push_back(operation);
  }
  compareAll(operations);
}

TEST_CASE("the signatures of RFC 6979 A.2.5") {
  const auto bytes = [](const char* digits) { return bytesOf(numberOfHex(digits).get()); };
  const Bytes32 key = bytes("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721");
  std::vector<EcdsaSign> operations = {
      operationOf(bytes("AF2BDBE1AA9B6EC1E2ADE1D694F41FC71A831D0268E9891562113D8A62ADD1BF"), key,
                  bytes("A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60")),
      operationOf(bytes("9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"), key,
                  bytes("D16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0"))};
  for (const Kernels* const row : rows()) {
    CAPTURE(row->name);
    std::vector<EcdsaSign*> lanes = {&operations[0], &operations[1]};
    row->ecdsaSign(lanes);
    CHECK(operations[0].r ==
          bytes("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"));
    CHECK(operations[0].s ==
          bytes("F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"));
    CHECK(operations[1].r ==
          bytes("F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367"));
    CHECK(operations[1].s ==
          bytes("019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"));
  }
}
