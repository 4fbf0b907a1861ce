// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "crypto/mb8.h"
#include "crypto/p256_numbers.h"

using namespace weft::crypto;
using namespace weft::crypto::test;

namespace {

struct Case {
  std::string name;
  EcdsaVerify operation;
  bool right;  ///< What verification has to say.
};

using Cases = std::vector<Case>;

Number negative(const BIGNUM* a) {
  return difference(order(), a);
}

/// A signature that is right for the key d * G and makes the verifier compute u1 * G + u2 * key,
/// which is not infinity.
EcdsaVerify forged(const BIGNUM* u1, const BIGNUM* u2, const BIGNUM* d) {
  const Point key = combination(d, nullptr, nullptr);
  const Point point = combination(u1, key.get(), u2);
  const Number r = modulo(numberOf(coordinatesOf(point.get()).x).get(), order());
  const Number s = product(r.get(), reciprocal(u2, order()).get(), order());
  const Number e = product(u1, s.get(), order());
  return {bytesOf(e.get()), bytesOf(r.get()), bytesOf(s.get()), coordinatesOf(key.get()), false};
}

/// A signature with this r of a key for which the verifier computes `point`: right if r is its x
/// modulo n.
EcdsaVerify madeFor(const EC_POINT* point, const BIGNUM* r, const BIGNUM* e, const BIGNUM* s) {
  // key = (s * point - e * G) / r.
  const Number inverse = reciprocal(r, order());
  const Number onPoint = product(s, inverse.get(), order());
  const Number onG = product(negative(e).get(), inverse.get(), order());
  const Point key = combination(onG.get(), point, onPoint.get());
  return {bytesOf(e), bytesOf(r), bytesOf(s), coordinatesOf(key.get()), false};
}

EcdsaVerify randomOne(RandomNumbers& random) {
  return forged(random.scalar().get(), random.scalar().get(), random.scalar().get());
}

/// Scalars at which windows of digits begin, end and carry.
std::vector<Number> edgeScalars() {
  std::vector<Number> out;
  for (const uint64_t small : {1, 2, 3, 15, 16, 17, 31, 32, 33, 127, 128, 129, 255, 256}) {
    out.push_back(numberOf(small));
    out.push_back(negative(out.back().get()));
  }
  for (const char* hex : {"8000000000000000000000000000000000000000000000000000000000000000",
                          "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                          "1084210842108421084210842108421084210842108421084210842108421084",
                          "8080808080808080808080808080808080808080808080808080808080808080"}) {
    out.push_back(numberOfHex(hex));
  }
  return out;
}

/// Both terms, or sums on the way to them, are the same point, or opposite ones.
void addCoincidences(Cases& cases, RandomNumbers& random) {
  const std::vector<Number> scalars = edgeScalars();
  std::vector<Number> keys;
  for (const uint64_t small : {1, 2, 3, 8, 32, 256}) {
    keys.push_back(numberOf(small));
    keys.push_back(negative(keys.back().get()));
  }
  for (const Number& d : keys) {
    for (const Number& u1 : scalars) {
      const Number u2 = product(u1.get(), reciprocal(d.get(), order()).get(), order());
      const EcdsaVerify doubling = forged(u1.get(), u2.get(), d.get());
      cases.push_back({"u1 * G = u2 * Q", doubling, true});
      EcdsaVerify infinite = doubling;
      const Number rd = product(numberOf(infinite.r).get(), d.get(), order());
      infinite.digest = bytesOf(negative(rd.get()).get());
      cases.push_back({"u1 * G = -u2 * Q", infinite, false});
      const Number& other = scalars[random.word() % scalars.size()];
      const Number onKey = product(other.get(), d.get(), order());
      if (BN_is_zero(modulo(sum(u1.get(), onKey.get()).get(), order()).get()) == 0) {
        cases.push_back({"edge scalars", forged(u1.get(), other.get(), d.get()), true});
      }
    }
  }
}

void addDigests(Cases& cases, RandomNumbers& random) {
  const Number zero = numberOf(0);
  const Number one = numberOf(1);
  // As e is reduced, e + n is the same digest where it has 256 bits.
  for (const Number& e : {numberOf(0), numberOf(1), numberOf(2), negative(one.get())}) {
    const Number k = random.scalar();
    const Point point = combination(k.get(), nullptr, nullptr);
    const Number r = modulo(numberOf(coordinatesOf(point.get()).x).get(), order());
    EcdsaVerify each = madeFor(point.get(), r.get(), e.get(), random.scalar().get());
    cases.push_back({"digest at an edge", each, true});
    const Number more = sum(e.get(), order());
    if (BN_num_bits(more.get()) <= 256) {
      each.digest = bytesOf(more.get());
      cases.push_back({"digest of n and more", each, true});
    }
  }
  EcdsaVerify ones = randomOne(random);
  ones.digest.fill(0xff);
  const Number k = random.scalar();
  const Point point = combination(k.get(), nullptr, nullptr);
  const Number r = modulo(numberOf(coordinatesOf(point.get()).x).get(), order());
  const Number e = modulo(numberOf(ones.digest).get(), order());
  EcdsaVerify right = madeFor(point.get(), r.get(), e.get(), random.scalar().get());
  right.digest = ones.digest;
  cases.push_back({"digest of ones", right, true});
  cases.push_back({"another digest of ones", ones, false});
}

void addRanges(Cases& cases, RandomNumbers& random) {
  Bytes32 ones;
  ones.fill(0xff);
  const Number one = numberOf(1);
  for (const Bytes32& edge :
       {bytesOf(numberOf(0).get()), bytesOf(one.get()), bytesOf(negative(one.get()).get()),
        bytesOf(order()), bytesOf(sum(order(), one.get()).get()), bytesOf(prime()), ones}) {
    EcdsaVerify each = randomOne(random);
    each.r = edge;
    cases.push_back({"r at an edge", each, false});
    each = randomOne(random);
    each.s = edge;
    cases.push_back({"s at an edge", each, false});
    each.r = edge;
    cases.push_back({"r and s at an edge", each, false});
    each.digest.fill(0);
    cases.push_back({"r and s at an edge, no digest", each, false});
  }
  EcdsaVerify each = randomOne(random);
  each.s = bytesOf(negative(numberOf(each.s).get()).get());
  cases.push_back({"the other s", each, true});
  // Both s and s + n where it has 256 bits: the second is out of range.
  const Number k = random.scalar();
  const Point point = combination(k.get(), nullptr, nullptr);
  const Number r = modulo(numberOf(coordinatesOf(point.get()).x).get(), order());
  each = madeFor(point.get(), r.get(), random.scalar().get(), numberOf(5).get());
  cases.push_back({"a small s", each, true});
  each.s = bytesOf(sum(order(), numberOf(5).get()).get());
  cases.push_back({"s + n", each, false});
}

/// r is x modulo n, and x is below p, which is a little more than n.
void addLargeX(Cases& cases, RandomNumbers& random) {
  for (int i = 0; i < 4; i++) {
    const Number above =
        sum(order(), numberOf(uint64_t{1} + random.word() % (uint64_t{1} << 62)).get());
    const Point point = pointFrom(copyOf(above));
    const Number x = numberOf(coordinatesOf(point.get()).x);
    const Number r = difference(x.get(), order());
    const Number e = random.scalar();
    const Number s = random.scalar();
    cases.push_back({"x is r + n", madeFor(point.get(), r.get(), e.get(), s.get()), true});
    EcdsaVerify outOfRange = madeFor(point.get(), r.get(), e.get(), s.get());
    outOfRange.r = bytesOf(x.get());
    cases.push_back({"r is x, which is n and more", outOfRange, false});
    const Number next = sum(r.get(), BN_value_one());
    cases.push_back({"x is not r + n", madeFor(point.get(), next.get(), e.get(), s.get()), false});
    // Here r + n is p and more, and x the same modulo p.
    const Point low = pointFrom(numberOf(random.word() >> 2));
    const Number lowX = numberOf(coordinatesOf(low.get()).x);
    const Number wrapped = sum(lowX.get(), difference(prime(), order()).get());
    cases.push_back({"x is r + n - p", madeFor(low.get(), wrapped.get(), e.get(), s.get()), false});
    cases.push_back({"a small x", madeFor(low.get(), lowX.get(), e.get(), s.get()), true});
  }
}

void addKeys(Cases& cases, RandomNumbers& random) {
  for (size_t byte = 0; byte < 32; byte++) {
    EcdsaVerify each = randomOne(random);
    each.publicKey.x[byte] ^= static_cast<uint8_t>(1 + random.word() % 255);
    cases.push_back({"another x of the key", each, false});
    each = randomOne(random);
    each.publicKey.y[byte] ^= static_cast<uint8_t>(1 + random.word() % 255);
    cases.push_back({"another y of the key", each, false});
  }
  EcdsaVerify each = randomOne(random);
  each.publicKey = {};
  cases.push_back({"a key of zeros", each, false});
  each.publicKey.x.fill(0xff);
  each.publicKey.y.fill(0xff);
  cases.push_back({"a key of ones", each, false});
  each = randomOne(random);
  each.publicKey.y = bytesOf(difference(prime(), numberOf(each.publicKey.y).get()).get());
  cases.push_back({"the opposite key", each, false});
  // Keys with x from 0 up, and the same with x + p, which is 2^256 at most.
  for (const uint64_t from : {0, 1, 1000}) {
    const Point key = pointFrom(numberOf(from));
    EcdsaVerify small = randomOne(random);
    small.publicKey = coordinatesOf(key.get());
    const Number u1 = random.scalar();
    const Number u2 = random.scalar();
    const Point point = combination(u1.get(), key.get(), u2.get());
    const Number r = modulo(numberOf(coordinatesOf(point.get()).x).get(), order());
    const Number s = product(r.get(), reciprocal(u2.get(), order()).get(), order());
    small.r = bytesOf(r.get());
    small.s = bytesOf(s.get());
    small.digest = bytesOf(product(u1.get(), s.get(), order()).get());
    cases.push_back({"a key with a small x", small, true});
    const Number x = numberOf(small.publicKey.x);
    small.publicKey.x = bytesOf(sum(x.get(), prime()).get());
    cases.push_back({"the same with x + p", small, false});
  }
}

Cases allCases() {
  RandomNumbers random(1);
  Cases cases;
  addDigests(cases, random);
  addRanges(cases, random);
  addLargeX(cases, random);
  addKeys(cases, random);
  addCoincidences(cases, random);
  for (int i = 0; i < 32; i++) {
    EcdsaVerify each = randomOne(random);
    cases.push_back({"random", each, true});
    each.digest[random.word() % 32] ^= 0x10;
    cases.push_back({"another digest", each, false});
  }
  return cases;
}

/// Verifies `count` cases from `first` on, round the end, in one call.
void verifyTogether(const Kernels& kernels, const Cases& cases, size_t first, size_t count) {
  std::array<EcdsaVerify, kLanes> operations;
  std::array<EcdsaVerify*, kLanes> pointers;
  for (size_t lane = 0; lane < count; lane++) {
    const Case& each = cases[(first + lane) % cases.size()];
    operations[lane] = each.operation;
    operations[lane].ok = !each.right;
    pointers[lane] = &operations[lane];
  }
  kernels.ecdsaVerify({pointers.data(), count});
  for (size_t lane = 0; lane < count; lane++) {
    const Case& each = cases[(first + lane) % cases.size()];
    CAPTURE(first + lane);
    CAPTURE(lane);
    CHECK_MESSAGE(operations[lane].ok == each.right, each.name);
  }
}

}  // namespace

TEST_CASE("the TLS library verifies signatures of P-256 as they were made") {
  const Cases cases = allCases();
  for (size_t first = 0; first < cases.size(); first++) {
    verifyTogether(portableKernels(), cases, first, 1);
  }
}

TEST_CASE("eight lanes verify signatures of P-256 as they were made, in every lane") {
  const Kernels* kernels = avx512Kernels();
  if (kernels == nullptr) {
    MESSAGE("skipped: this processor has no AVX-512 IFMA");
    return;
  }
  const Cases cases = allCases();
  // From one call to the next each case moves one lane down.
  for (size_t first = 0; first < cases.size(); first++) {
    verifyTogether(*kernels, cases, first, kLanes);
  }
  for (size_t count = 1; count < kLanes; count++) {
    verifyTogether(*kernels, cases, count * 5, count);
  }
}
