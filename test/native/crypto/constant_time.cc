// SPDX-License-Identifier: Apache-2.0
// The AVX-512 kernels under MemorySanitizer, with what is secret marked as uninitialized: a branch
// or an address that depends on it ends the process. Each case is a process of its own; prints TAP.
// Cases that leak on purpose must be caught, else the others would prove nothing.
#include <fcntl.h>
#include <immintrin.h>
#include <sanitizer/msan_interface.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <span>

#include "crypto/mb8_avx512.h"
#include "crypto/operations.h"

namespace weft::crypto {
namespace {

template <typename T>
void hide(T& secret) {
  __msan_allocated_memory(&secret, sizeof(secret));
}

/// True where `value` depends on something hidden: what was hidden must show up in the results, or
/// its trace was lost on the way.
template <typename T>
bool hidden(const T& value) {
  return __msan_test_shadow(&value, sizeof(value)) >= 0;
}

constexpr Bytes32 filled(uint8_t first) {
  Bytes32 bytes{};
  for (size_t i = 0; i < bytes.size(); i++) {
    bytes[i] = static_cast<uint8_t>(first + 37 * i);
  }
  return bytes;
}

// The base point of P-256, big-endian.
constexpr P256Point kBase = {{0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6,
                              0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb,
                              0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96},
                             {0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb,
                              0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31,
                              0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5}};

template <typename Operation>
using Kernel = void (*)(std::span<Operation* const>);

/// Runs `kernel` on as many lanes as `count` says, each made by `make`.
template <typename Operation, typename Make>
std::array<Operation, kLanes> runHidden(Kernel<Operation> kernel, size_t count, Make make) {
  std::array<Operation, kLanes> operations{};
  std::array<Operation*, kLanes> lanes{};
  for (size_t i = 0; i < count; i++) {
    make(operations[i], static_cast<uint8_t>(i + 1));
    lanes[i] = &operations[i];
  }
  kernel(std::span<Operation* const>(lanes.data(), count));
  return operations;
}

bool x25519Derive(size_t count) {
  const auto done = runHidden<X25519Derive>(avx512::x25519Derive, count, [](auto& each, uint8_t i) {
    each.privateKey = filled(i);
    each.peerPublic = filled(static_cast<uint8_t>(i + 9));
    hide(each.privateKey);
  });
  return hidden(done[count - 1].shared);
}

bool x25519Keygen(size_t count) {
  const auto done = runHidden<X25519Keygen>(avx512::x25519Keygen, count, [](auto& each, uint8_t i) {
    each.privateKey = filled(i);
    hide(each.privateKey);
  });
  return hidden(done[count - 1].publicKey);
}

bool ecdsaSign(size_t count) {
  const auto done = runHidden<EcdsaSign>(avx512::ecdsaSign, count, [](auto& each, uint8_t i) {
    each.digest = filled(i);
    each.privateKey = filled(static_cast<uint8_t>(i + 3));
    each.nonce = filled(static_cast<uint8_t>(i + 5));
    hide(each.privateKey);
    hide(each.nonce);
  });
  return hidden(done[count - 1].s);
}

bool p256Keygen(size_t count) {
  const auto done = runHidden<P256Keygen>(avx512::p256Keygen, count, [](auto& each, uint8_t i) {
    each.privateKey = filled(i);
    hide(each.privateKey);
  });
  return hidden(done[count - 1].publicKey);
}

bool p256Derive(size_t count) {
  const auto done = runHidden<P256Derive>(avx512::p256Derive, count, [](auto& each, uint8_t i) {
    each.privateKey = filled(i);
    each.peerPublic = kBase;
    hide(each.privateKey);
  });
  return hidden(done[count - 1].shared);
}

// What must be caught. Each does what a careless kernel might.

volatile uint64_t sink;
uint64_t table[256];

__m512i hiddenLanes() {
  __m512i lanes = _mm512_set1_epi64(5);
  hide(lanes);
  return lanes;
}

bool branchOnMask(size_t) {
  if (_mm512_test_epi64_mask(hiddenLanes(), _mm512_set1_epi64(1)) != 0) {
    sink = 1;
  }
  return true;
}

bool branchOnBit(size_t) {
  uint64_t word = 5;
  hide(word);
  if ((word & 1) != 0) {
    sink = 1;
  }
  return true;
}

bool gather(size_t) {
  const __m512i product =
      _mm512_madd52lo_epu64(_mm512_setzero_si512(), hiddenLanes(), hiddenLanes());
  const __m512i index = _mm512_and_si512(product, _mm512_set1_epi64(255));
  const __m512i found = _mm512_i64gather_epi64(index, table, 8);
  sink = static_cast<uint64_t>(_mm512_reduce_add_epi64(found));
  return true;
}

bool tableIndex(size_t) {
  uint8_t index = 5;
  hide(index);
  sink = table[index];
  return true;
}

/// The exit status with which the sanitizer ends a process.
constexpr int kCaught = 86;

/// A process's answer for one case: 0 for true, 1 for false, or kCaught.
int statusOf(bool (*run)(size_t), size_t count, bool quiet) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    if (quiet) {
      dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
    }
    const bool answer = run(count);
    __msan_unpoison(&answer, sizeof(answer));
    _exit(answer ? 0 : 1);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status)
                                                                               : -1;
}

struct Case {
  const char* name;
  bool (*run)(size_t);
};

constexpr Case kKernels[] = {
    {"X25519 derive", x25519Derive}, {"X25519 keygen", x25519Keygen}, {"ECDSA sign", ecdsaSign},
    {"P-256 keygen", p256Keygen},    {"P-256 derive", p256Derive},
};

constexpr Case kLeaks[] = {
    {"a branch on a mask", branchOnMask},
    {"a branch on a bit", branchOnBit},
    {"a gather", gather},
    {"an index of a table", tableIndex},
};

int testAll() {
  size_t number = 0;
  bool good = true;
  const auto tell = [&](bool passed, const char* name, const char* what, size_t lanes) {
    std::printf("%sok %zu - %s: %s", passed ? "" : "not ", ++number, name, what);
    std::printf(lanes == 0 ? "\n" : " (%zu lanes)\n", lanes);
    good &= passed;
  };
  std::printf("TAP version 14\n");
  for (const Case& each : kKernels) {
    for (const size_t lanes : {kLanes, size_t{3}}) {
      const int status = statusOf(each.run, lanes, false);
      tell(status == 0, each.name, "no branch and no address depends on a secret", lanes);
    }
  }
  for (const Case& each : kLeaks) {
    const int status = statusOf(each.run, 0, true);
    tell(status == kCaught, each.name, "is caught", 0);
  }
  std::printf("1..%zu\n", number);
  return good ? 0 : 1;
}

}  // namespace
}  // namespace weft::crypto

extern "C" const char* __msan_default_options() {
  return "exitcode=86";
}

int main() {
  if (!__builtin_cpu_supports("avx512ifma") || !__builtin_cpu_supports("avx512vbmi2")) {
    std::printf("TAP version 14\nok 1 - constant time # SKIP no AVX-512 IFMA here\n1..1\n");
    return 0;
  }
  return weft::crypto::testAll();
}
