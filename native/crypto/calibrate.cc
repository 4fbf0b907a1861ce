// SPDX-License-Identifier: Apache-2.0
// From how many operations on the wide row is worth it, on the processor that runs this.
#include "crypto/calibrate.h"

#include <algorithm>
#include <string_view>

namespace weft::crypto {
namespace {

/// Two that something disturbed do not move the median. The first makes the kernels' tables.
constexpr size_t kRounds = 5;
/// Operations one after the other in a round: reading the clock takes long beside one alone.
constexpr size_t kAlone = 2;
/// How far a measure has to pass a boundary, so that noise does not choose.
constexpr double kMargin = 0.05;

constexpr uint8_t digitOf(char hex) {
  return static_cast<uint8_t>(hex <= '9' ? hex - '0' : hex - 'a' + 10);
}

consteval Bytes32 fromHex(std::string_view digits) {
  Bytes32 bytes{};
  for (size_t i = 0; i < bytes.size(); i++) {
    bytes[i] = static_cast<uint8_t>(digitOf(digits[2 * i]) << 4 | digitOf(digits[2 * i + 1]));
  }
  return bytes;
}

// A key and what it signs: the library is quicker with numbers that are not like those of a
// handshake. RFC 6979 A.2.5, P-256 with SHA-256 of "sample".
constexpr Bytes32 kKey =
    fromHex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
constexpr P256Point kPublic = {
    fromHex("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"),
    fromHex("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299")};
constexpr Bytes32 kDigest =
    fromHex("af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf");
constexpr Bytes32 kNonce =
    fromHex("a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60");
constexpr Bytes32 kR = fromHex("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
constexpr Bytes32 kS = fromHex("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
// RFC 7748 section 5.2, the first of X25519.
constexpr Bytes32 kScalar =
    fromHex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
constexpr Bytes32 kPoint =
    fromHex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");

template <typename Operands>
using Row = void (*)(std::span<Operands* const>);

template <typename Operands>
double nanosOf(Row<Operands> row, std::span<Operands* const> lanes, Clock clock) {
  const uint64_t start = clock();
  row(lanes);
  return static_cast<double>(clock() - start);
}

/// What a call of the kernel takes, in single operations. Its time does not depend on how many
/// lanes are filled. Both are measured right after each other, so that drift meets both.
template <typename Operands>
double costOf(Row<Operands> wide, Row<Operands> scalar, const Operands& example, Clock clock) {
  std::array<Operands, kLanes> operands{};
  operands.fill(example);
  std::array<Operands*, kLanes> all{};
  std::transform(operands.begin(), operands.end(), all.begin(), [](auto& one) { return &one; });
  const std::span<Operands* const> lanes(all);
  std::array<double, kRounds> costs{};
  for (double& cost : costs) {
    const double eight = nanosOf(wide, lanes, clock);
    cost = eight * kAlone / std::max(1.0, nanosOf(scalar, lanes.first(kAlone), clock));
  }
  const auto middle = costs.begin() + kRounds / 2;
  std::nth_element(costs.begin(), middle, costs.end());
  return *middle;
}

uint8_t breakEvenAt(double cost, uint8_t standing) {
  uint8_t fresh = 1;
  while (fresh <= kLanes && cost > (1 - kMargin) * fresh) {
    fresh++;
  }
  static_assert(BreakEvens::kNever == kLanes + 1);
  const bool refuted = standing > kLanes || cost > (1 + kMargin) * standing;
  return fresh < standing || refuted ? fresh : standing;
}

}  // namespace

BreakEvens calibrate(const Kernels& wide, const Kernels& scalar, Clock clock,
                     const BreakEvens& standing) {
  BreakEvens found = standing;
  const auto measure = [&](Operation operation, auto row, const auto& example) {
    uint8_t& lanes = found.lanes[static_cast<size_t>(operation)];
    lanes = breakEvenAt(costOf(wide.*row, scalar.*row, example, clock), lanes);
  };
  measure(Operation::kX25519Derive, &Kernels::x25519Derive, X25519Derive{kScalar, kPoint, {}});
  measure(Operation::kX25519Keygen, &Kernels::x25519Keygen, X25519Keygen{kScalar, {}});
  measure(Operation::kEcdsaVerify, &Kernels::ecdsaVerify, EcdsaVerify{kDigest, kR, kS, kPublic});
  measure(Operation::kEcdsaSign, &Kernels::ecdsaSign, EcdsaSign{kDigest, kKey, kNonce, {}, {}});
  measure(Operation::kP256Keygen, &Kernels::p256Keygen, P256Keygen{kKey, {}});
  measure(Operation::kP256Derive, &Kernels::p256Derive, P256Derive{kKey, kPublic, {}});
  return found;
}

}  // namespace weft::crypto
