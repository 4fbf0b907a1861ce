// SPDX-License-Identifier: Apache-2.0
// bench_crypto [rounds]: CPU time of each operation of crypto/mb8.h, by the portable row and by the
// AVX-512 row with 1 to 8 lanes filled. All take turns within a round. Prints a line of JSON for
// each of them and each round.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>

#include "crypto/mb8.h"

namespace weft::crypto {
namespace {

/// Nanoseconds that one measurement takes at least.
constexpr uint64_t kSlice = 1'500'000;
constexpr long kRoundsMax = 1000;

uint64_t cpuNanos() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

template <typename Operation>
using Kernel = void (*)(std::span<Operation* const>);

/// Eight operations, and pointers to them.
template <typename Operation>
struct Batch {
  std::array<Operation, kLanes> operations{};
  std::array<Operation*, kLanes> lanes{};

  Batch() {
    for (size_t i = 0; i < kLanes; i++) {
      lanes[i] = &operations[i];
    }
  }

  std::span<Operation* const> first(size_t count) const { return {lanes.data(), count}; }
};

/// What every operation needs, all valid.
struct Inputs {
  Batch<X25519Derive> x25519Derive;
  Batch<X25519Keygen> x25519Keygen;
  Batch<EcdsaVerify> ecdsaVerify;
  Batch<EcdsaSign> ecdsaSign;
  Batch<P256Keygen> p256Keygen;
  Batch<P256Derive> p256Derive;

  Inputs() {
    std::mt19937_64 random(1);
    for (size_t i = 0; i < kLanes; i++) {
      // Below every order; big-endian for P-256.
      const auto scalar = [&random] {
        Bytes32 bytes;
        for (uint8_t& each : bytes) {
          each = static_cast<uint8_t>(random());
        }
        bytes[0] &= 0x7F;
        return bytes;
      };
      x25519Derive.operations[i].privateKey = scalar();
      x25519Keygen.operations[i].privateKey = scalar();
      p256Keygen.operations[i].privateKey = scalar();
      p256Derive.operations[i].privateKey = scalar();
      ecdsaSign.operations[i].privateKey = p256Keygen.operations[i].privateKey;
      ecdsaSign.operations[i].digest = scalar();
      ecdsaSign.operations[i].nonce = scalar();
    }
    const Kernels& row = portableKernels();
    row.x25519Keygen(x25519Keygen.first(kLanes));
    row.p256Keygen(p256Keygen.first(kLanes));
    row.ecdsaSign(ecdsaSign.first(kLanes));
    for (size_t i = 0; i < kLanes; i++) {
      x25519Derive.operations[i].peerPublic = x25519Keygen.operations[i].publicKey;
      p256Derive.operations[i].peerPublic = p256Keygen.operations[i].publicKey;
      EcdsaVerify& verify = ecdsaVerify.operations[i];
      verify.digest = ecdsaSign.operations[i].digest;
      verify.r = ecdsaSign.operations[i].r;
      verify.s = ecdsaSign.operations[i].s;
      verify.publicKey = p256Keygen.operations[i].publicKey;
    }
  }
};

template <typename Operation>
void measure(const char* operation, const char* row, Kernel<Operation> kernel,
             const Batch<Operation>& batch, size_t lanes) {
  // Its code and tables are in the cache from here on.
  kernel(batch.first(lanes));
  const uint64_t start = cpuNanos();
  uint64_t calls = 0;
  uint64_t nanos = 0;
  do {
    kernel(batch.first(lanes));
    calls++;
    nanos = cpuNanos() - start;
  } while (nanos < kSlice);
  std::printf("{\"operation\":\"%s\",\"row\":\"%s\",\"lanes\":%zu,\"calls\":%llu,\"ns\":%llu}\n",
              operation, row, lanes, static_cast<unsigned long long>(calls),
              static_cast<unsigned long long>(nanos));
}

template <typename Operation>
void compare(const char* operation, Kernel<Operation> Kernels::*kernel,
             const Batch<Operation>& batch) {
  measure(operation, "portable", portableKernels().*kernel, batch, kLanes);
  if (const Kernels* const wide = avx512Kernels()) {
    for (size_t lanes = 1; lanes <= kLanes; lanes++) {
      measure(operation, wide->name, wide->*kernel, batch, lanes);
    }
  }
}

void runRound(const Inputs& inputs) {
  compare("ECDSA verify", &Kernels::ecdsaVerify, inputs.ecdsaVerify);
  compare("X25519 derive", &Kernels::x25519Derive, inputs.x25519Derive);
  compare("ECDSA sign", &Kernels::ecdsaSign, inputs.ecdsaSign);
  compare("X25519 keygen", &Kernels::x25519Keygen, inputs.x25519Keygen);
  compare("P-256 keygen", &Kernels::p256Keygen, inputs.p256Keygen);
  compare("P-256 derive", &Kernels::p256Derive, inputs.p256Derive);
}

}  // namespace
}  // namespace weft::crypto

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 15;
  if (rounds < 1 || rounds > weft::crypto::kRoundsMax) {
    std::fprintf(stderr, "bench_crypto [rounds], 1 to %ld\n", weft::crypto::kRoundsMax);
    return 2;
  }
  const weft::crypto::Inputs inputs;
  for (long round = 0; round < rounds; round++) {
    weft::crypto::runRound(inputs);
  }
  return 0;
}
