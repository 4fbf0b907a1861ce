// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <array>
#include <utility>
#include <vector>

#include "crypto/mb8.h"
#include "crypto/p256_numbers.h"

using namespace weft::crypto;
using namespace weft::crypto::test;

namespace {

/// `shared` and `ok` are what is to come out.
using Cases = std::vector<P256Derive>;

P256Derive expected(const BIGNUM* scalar, const EC_POINT* peer) {
  const Point shared = combination(numberOf(0).get(), peer, scalar);
  return {bytesOf(scalar), coordinatesOf(peer), coordinatesOf(shared.get()), true};
}

P256Derive refused(const Bytes32& scalar, const P256Point& peer) {
  return {scalar, peer, {}, false};
}

/// Scalars whose digits, or the sums that they make, are at an edge.
std::vector<Number> edgeScalars(RandomNumbers& random) {
  std::vector<Number> out;
  for (uint64_t small = 1; small <= 40; small++) {
    out.push_back(numberOf(small));
    out.push_back(difference(order(), out.back().get()));
  }
  for (int shift = 6; shift < 256; shift += 7) {
    const Number power = numberOf(1);
    REQUIRE(BN_lshift(power.get(), power.get(), shift) == 1);
    out.push_back(copyOf(power));
    out.push_back(difference(power.get(), BN_value_one()));
  }
  // Digits of 16 and of -16 all along; zeros between; halves of n.
  for (const char* hex : {"1084210842108421084210842108421084210842108421084210842108421084",
                          "8421084210842108421084210842108421084210842108421084210842108421",
                          "f000000000000000000000000000000000000000000000000000000000000001",
                          "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8",
                          "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a9"}) {
    out.push_back(numberOfHex(hex));
  }
  for (int i = 0; i < 16; i++) {
    out.push_back(random.scalar());
  }
  return out;
}

std::vector<Point> edgePoints(RandomNumbers& random) {
  std::vector<Point> out;
  const Number minusOne = difference(order(), BN_value_one());
  out.push_back(combination(BN_value_one(), nullptr, nullptr));
  out.push_back(combination(minusOne.get(), nullptr, nullptr));
  out.push_back(combination(random.scalar().get(), nullptr, nullptr));
  out.push_back(pointFrom(numberOf(0)));
  // The last ones below p.
  out.push_back(pointFrom(difference(prime(), numberOf(16).get())));
  return out;
}

void addRefused(Cases& cases, RandomNumbers& random) {
  const Point point = combination(random.scalar().get(), nullptr, nullptr);
  const P256Point peer = coordinatesOf(point.get());
  Bytes32 ones;
  ones.fill(0xff);
  for (const Bytes32& scalar : {bytesOf(numberOf(0).get()), bytesOf(order()),
                                bytesOf(sum(order(), BN_value_one()).get()), ones}) {
    cases.push_back(refused(scalar, peer));
  }
  for (size_t byte = 0; byte < 32; byte++) {
    P256Point other = peer;
    other.x[byte] ^= static_cast<uint8_t>(1 + random.word() % 255);
    cases.push_back(refused(random.bytes(), other));
    other = peer;
    other.y[byte] ^= static_cast<uint8_t>(1 + random.word() % 255);
    cases.push_back(refused(random.bytes(), other));
  }
  cases.push_back(refused(random.bytes(), P256Point{}));
  cases.push_back(refused(random.bytes(), {ones, ones}));
  cases.push_back(refused(random.bytes(), {peer.x, bytesOf(prime())}));
  for (const uint64_t from : {0, 1, 1000}) {
    P256Point small = coordinatesOf(pointFrom(numberOf(from)).get());
    small.x = bytesOf(sum(numberOf(small.x).get(), prime()).get());
    cases.push_back(refused(random.bytes(), small));
  }
}

Cases allCases() {
  RandomNumbers random(2);
  Cases cases;
  const std::vector<Point> points = edgePoints(random);
  for (const Number& scalar : edgeScalars(random)) {
    for (const Point& point : points) {
      cases.push_back(expected(scalar.get(), point.get()));
    }
  }
  addRefused(cases, random);
  return cases;
}

/// Computes `count` cases from `first` on, round the end, in one call.
void deriveTogether(const Kernels& kernels, const Cases& cases, size_t first, size_t count) {
  std::array<P256Derive, kLanes> operations;
  std::array<P256Derive*, kLanes> pointers;
  for (size_t lane = 0; lane < count; lane++) {
    operations[lane] = cases[(first + lane) % cases.size()];
    operations[lane].shared.x.fill(0x5a);
    operations[lane].shared.y.fill(0x5a);
    operations[lane].ok = !operations[lane].ok;
    pointers[lane] = &operations[lane];
  }
  kernels.p256Derive({pointers.data(), count});
  for (size_t lane = 0; lane < count; lane++) {
    const P256Derive& each = cases[(first + lane) % cases.size()];
    CAPTURE((first + lane) % cases.size());
    CAPTURE(lane);
    CHECK(operations[lane].ok == each.ok);
    // Zeros where it is refused.
    CHECK(operations[lane].shared.x == each.shared.x);
    CHECK(operations[lane].shared.y == each.shared.y);
  }
}

}  // namespace

TEST_CASE("the TLS library derives from keys of P-256 what its points say") {
  const Cases cases = allCases();
  for (size_t first = 0; first < cases.size(); first++) {
    deriveTogether(portableKernels(), cases, first, 1);
  }
}

TEST_CASE("eight lanes derive from keys of P-256 what its points say, in every lane") {
  const Kernels* kernels = avx512Kernels();
  if (kernels == nullptr) {
    MESSAGE("skipped: this processor has no AVX-512 IFMA");
    return;
  }
  const Cases cases = allCases();
  // From one call to the next each case moves one lane down.
  for (size_t first = 0; first < cases.size(); first++) {
    deriveTogether(*kernels, cases, first, kLanes);
  }
  for (size_t count = 1; count < kLanes; count++) {
    deriveTogether(*kernels, cases, count * 5, count);
  }
}
