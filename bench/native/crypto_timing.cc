// SPDX-License-Identifier: Apache-2.0
// bench_crypto_timing [calls]: does the time of a kernel tell its secrets apart? Calls with secrets
// of few bits and with secrets by chance take turns by chance, in the same memory; Welch's t says
// how far their mean times lie apart, in units of what chance would do (Reparaz, Balasch,
// Verbauwhede 2017). A function that leaks on purpose stands beside them. Exit status 1 where a
// kernel's t is above kLimit, or the leak's is not.
#include <immintrin.h>
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "crypto/mb8.h"

namespace weft::crypto {
namespace {

/// As that paper has it: above 4.5 there is something, above 10 surely.
constexpr double kLimit = 10;
/// The slowest calls are those that something else interrupted.
constexpr double kKept = 0.9;
constexpr size_t kCallsMax = 10'000'000;

/// Times of one class.
struct Sample {
  double count = 0;
  double mean = 0;
  double squares = 0;

  /// Welford's update.
  void add(double value) {
    count += 1;
    const double before = value - mean;
    mean += before / count;
    squares += before * (value - mean);
  }
  double variance() const { return squares / (count - 1); }
};

struct Timed {
  bool byChance;
  double cycles;
};

double welch(std::vector<Timed> times) {
  const auto last =
      times.begin() + static_cast<ptrdiff_t>(kKept * static_cast<double>(times.size()));
  std::nth_element(times.begin(), last, times.end(),
                   [](const Timed& a, const Timed& b) { return a.cycles < b.cycles; });
  std::array<Sample, 2> samples;
  std::for_each(times.begin(), last,
                [&](const Timed& each) { samples[each.byChance ? 1 : 0].add(each.cycles); });
  const auto& [few, chance] = samples;
  return (few.mean - chance.mean) /
         std::sqrt(few.variance() / few.count + chance.variance() / chance.count);
}

class Timing {
 public:
  explicit Timing(size_t calls) : calls_(calls) {}

  /// Prints t of `run`, before each call of which `prepare` is told the class. True below kLimit.
  template <typename Prepare, typename Run>
  bool measure(const char* name, Prepare prepare, Run run) {
    std::vector<Timed> times;
    times.reserve(calls_);
    for (size_t i = 0; i < calls_; i++) {
      const bool byChance = (random_() & 1) != 0;
      prepare(byChance);
      _mm_lfence();
      const uint64_t start = __rdtsc();
      run();
      unsigned processor = 0;
      const uint64_t end = __rdtscp(&processor);
      times.push_back({byChance, static_cast<double>(end - start)});
    }
    const double t = welch(std::move(times));
    std::printf("%-24s t = %6.2f, %zu calls\n", name, t, calls_);
    std::fflush(stdout);
    return std::abs(t) < kLimit;
  }

  /// A secret in range for every operation: by chance, or with one bit besides the lane's number.
  Bytes32 secret(bool byChance, size_t lane) {
    Bytes32 bytes{};
    // Both classes draw as much, so that they leave the same behind.
    Bytes32 drawn;
    for (uint8_t& each : drawn) {
      each = static_cast<uint8_t>(random_());
    }
    if (byChance) {
      bytes = drawn;
      bytes[0] &= 0x7F;
    } else {
      bytes[31] = static_cast<uint8_t>(lane + 1);
    }
    return bytes;
  }

 private:
  size_t calls_;
  std::mt19937_64 random_{1};
};

/// Eight operations of which `set` puts a secret into one.
template <typename Operation, typename Set>
bool measureKernel(Timing& timing, const char* name, void (*kernel)(std::span<Operation* const>),
                   std::array<Operation, kLanes> operations, Set set) {
  std::array<Operation*, kLanes> lanes;
  for (size_t i = 0; i < kLanes; i++) {
    lanes[i] = &operations[i];
  }
  const auto prepare = [&](bool byChance) {
    for (size_t i = 0; i < kLanes; i++) {
      set(operations[i], timing.secret(byChance, i));
    }
  };
  return timing.measure(name, prepare, [&] { kernel(lanes); });
}

/// Multiplies once for each bit that is set: what must not pass.
bool measureLeak(Timing& timing) {
  Bytes32 secret{};
  volatile uint64_t sink = 3;
  const auto prepare = [&](bool byChance) { secret = timing.secret(byChance, 0); };
  return timing.measure("a leak, for comparison", prepare, [&] {
    for (const uint8_t byte : secret) {
      for (unsigned bit = 0; bit < 8; bit++) {
        if ((byte >> bit & 1U) != 0) {
          sink = sink * sink;
        }
      }
    }
  });
}

bool measureAll(const Kernels& row, size_t calls) {
  Timing timing(calls);
  std::array<X25519Derive, kLanes> derives{};
  std::array<EcdsaSign, kLanes> signs{};
  std::array<P256Derive, kLanes> shares{};
  P256Keygen base{};
  base.privateKey[31] = 1;
  std::array<P256Keygen*, 1> one = {&base};
  portableKernels().p256Keygen(one);
  for (size_t i = 0; i < kLanes; i++) {
    derives[i].peerPublic[0] = 9;
    signs[i].digest[5] = static_cast<uint8_t>(i + 1);
    signs[i].privateKey[31] = 7;
    signs[i].nonce[31] = 5;
    shares[i].peerPublic = base.publicKey;
  }
  const auto setKey = [](auto& each, const Bytes32& secret) { each.privateKey = secret; };
  const auto setNonce = [](EcdsaSign& each, const Bytes32& secret) { each.nonce = secret; };
  bool good = measureKernel(timing, "X25519 derive", row.x25519Derive, derives, setKey);
  good &= measureKernel(timing, "X25519 keygen", row.x25519Keygen, {}, setKey);
  good &= measureKernel(timing, "ECDSA sign, key", row.ecdsaSign, signs, setKey);
  good &= measureKernel(timing, "ECDSA sign, nonce", row.ecdsaSign, signs, setNonce);
  good &= measureKernel(timing, "P-256 keygen", row.p256Keygen, {}, setKey);
  good &= measureKernel(timing, "P-256 derive", row.p256Derive, shares, setKey);
  return !measureLeak(timing) && good;
}

}  // namespace
}  // namespace weft::crypto

int main(int argc, char** argv) {
  const size_t calls = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20'000;
  const weft::crypto::Kernels* const row = weft::crypto::avx512Kernels();
  if (row == nullptr || calls < 100 || calls > weft::crypto::kCallsMax) {
    std::fprintf(stderr, row == nullptr ? "this processor has no AVX-512 IFMA\n"
                                        : "bench_crypto_timing [calls], 100 or more\n");
    return 2;
  }
  return weft::crypto::measureAll(*row, calls) ? 0 : 1;
}
