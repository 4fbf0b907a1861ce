// SPDX-License-Identifier: Apache-2.0
// differential [count] [seed] [part]: each operation on `count` drawn inputs (a million unless
// said), the AVX-512 row against the portable row; then X25519 iterated `count` times as RFC 7748
// section 5.2 has it, in eight lanes from different starts. A part is the name of an operation or
// "iterations"; all unless said. Exit status 1 where anything differs, or the part is none.
#include "crypto/differential.h"

#include <chrono>
#include <cstdlib>
#include <string_view>

#include "crypto/order.h"

namespace weft::crypto {
namespace {

constexpr size_t kMillion = 1'000'000;
constexpr const char* kAfterMillion =
    "7c3911e0ab2586fd864497297e575e6f3bc601c0883c30df5f4dd2d24f665424";

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <typename Operation>
bool agrees(const Kernels& row, size_t count, uint64_t seed) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::string> found = differences<Operation>(row, count, seed);
  std::printf("%-14s %zu inputs, %zu differences, %.1f s\n", Of<Operation>::kName, count,
              found.size(), secondsSince(start));
  for (const std::string& each : found) {
    std::printf("  %s\n", each.c_str());
  }
  std::fflush(stdout);
  return found.empty();
}

using Lanes = std::array<X25519Derive, kLanes>;

/// The last outputs of `count` iterations: each output is the next key, each key the next point.
Lanes iterated(const Kernels& row, size_t count) {
  Lanes lanes{};
  for (size_t lane = 0; lane < kLanes; lane++) {
    // RFC 7748 starts at 9, here lane 3; others have starts of their own.
    lanes[lane].privateKey[0] = static_cast<uint8_t>(9 + (lane + 5) % kLanes);
    lanes[lane].peerPublic = lanes[lane].privateKey;
  }
  for (size_t i = 0; i < count; i++) {
    run(row, lanes.data(), kLanes);
    for (X25519Derive& lane : lanes) {
      lane.peerPublic = lane.privateKey;
      lane.privateKey = lane.shared;
    }
  }
  return lanes;
}

bool iterationsAgree(const Kernels& row, size_t count) {
  const auto start = std::chrono::steady_clock::now();
  const Lanes got = iterated(row, count);
  const double wide = secondsSince(start);
  const Lanes wanted = iterated(portableKernels(), count);
  bool same = true;
  for (size_t lane = 0; lane < kLanes; lane++) {
    same &= Of<X25519Derive>::same(got[lane], wanted[lane]);
  }
  const bool known = count != kMillion || got[3].shared == order::fromHex(kAfterMillion);
  std::printf("RFC 7748 5.2   %zu iterations in 8 lanes: %s, %s the RFC's; %.1f s, portable %.1f\n",
              count, same ? "same" : "DIFFERENT",
              count != kMillion ? "not compared with" : (known ? "is" : "IS NOT"), wide,
              secondsSince(start) - wide);
  return same && known;
}

int compare(size_t count, uint64_t seed, std::string_view part) {
  const Kernels* const row = avx512Kernels();
  if (row == nullptr) {
    std::printf("this processor has no AVX-512 IFMA: nothing to compare\n");
    return 2;
  }
  size_t parts = 0;
  bool good = true;
  const auto take = [&](const char* name, auto run) {
    if (part.empty() || part == name) {
      parts++;
      good &= run();
    }
  };
  const auto takeOf = [&]<typename Operation>() {
    take(Of<Operation>::kName, [&] { return agrees<Operation>(*row, count, seed); });
  };
  takeOf.template operator()<X25519Derive>();
  takeOf.template operator()<X25519Keygen>();
  takeOf.template operator()<EcdsaVerify>();
  takeOf.template operator()<EcdsaSign>();
  takeOf.template operator()<P256Keygen>();
  takeOf.template operator()<P256Derive>();
  take("iterations", [&] { return iterationsAgree(*row, count); });
  return good && parts > 0 ? 0 : 1;
}

}  // namespace
}  // namespace weft::crypto

int main(int argc, char** argv) {
  const size_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : weft::crypto::kMillion;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  return weft::crypto::compare(count, seed, argc > 3 ? argv[3] : "");
}
