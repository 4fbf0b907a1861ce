// SPDX-License-Identifier: Apache-2.0
#include "crypto/wipe.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/mman.h>

#include <cstring>
#include <set>
#include <vector>

#include "crypto/draw.h"
#include "crypto/operations.h"

namespace weft::crypto {
namespace {

constexpr size_t kStackBytes = size_t{1} << 20;

/// A thread's stack that can be read when the thread is gone.
class Stack {
 public:
  Stack() {
    bytes_ = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(bytes_ != MAP_FAILED);
  }
  ~Stack() { munmap(bytes_, kStackBytes); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void run(void* (*function)(void*), void* argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    REQUIRE(pthread_attr_setstack(&attributes, bytes_, kStackBytes) == 0);
    pthread_t thread{};
    REQUIRE(pthread_create(&thread, &attributes, function, argument) == 0);
    REQUIRE(pthread_join(thread, nullptr) == 0);
    pthread_attr_destroy(&attributes);
  }

  /// How many of `words` stand in it.
  size_t count(const std::set<uint64_t>& words) const {
    size_t found = 0;
    for (size_t at = 0; at < kStackBytes; at += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, static_cast<const char*>(bytes_) + at, sizeof(word));
      found += words.count(word);
    }
    return found;
  }

 private:
  void* bytes_;
};

using Number = std::array<uint64_t, 4>;

/// Adds the limbs of `bits` bits of a number of four words.
void addLimbs(const Number& number, unsigned bits, std::set<uint64_t>& words) {
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (unsigned from = 0; from < 256; from += bits) {
    const unsigned word = from / 64;
    const unsigned shift = from % 64;
    uint64_t limb = number[word] >> shift;
    if (shift > 0 && word + 1 < 4) {
      limb |= number[word + 1] << (64 - shift);
    }
    words.insert(limb & mask);
  }
}

/// What a secret may look like in memory: words and limbs, in both orders of bytes. Not what
/// clamping changes, nor small numbers, which stand anywhere.
std::set<uint64_t> tracesOf(const Bytes32& secret) {
  std::set<uint64_t> words;
  Number little;
  std::memcpy(&little, &secret, sizeof(little));
  const Number big = {__builtin_bswap64(little[3]), __builtin_bswap64(little[2]),
                      __builtin_bswap64(little[1]), __builtin_bswap64(little[0])};
  for (const Number& number : {little, big}) {
    words.insert(number.begin(), number.end());
    addLimbs(number, 51, words);
    addLimbs(number, 52, words);
  }
  std::erase_if(words, [](uint64_t word) { return word >> 32 == 0; });
  return words;
}

/// Where the thread finds what it is to run: the operations are not on its stack.
template <typename Operation>
struct Call {
  const Kernels* row;
  std::array<Operation, kLanes> operations;
};

/// How many traces of secrets `row` leaves below it on the stack.
template <typename Operation, typename Fill>
size_t tracesLeft(const Kernels& row, Fill secretsOf) {
  Stack stack;
  Call<Operation> call{&row, {}};
  Draw draw(7);
  for (Operation& each : call.operations) {
    draw.fill(each);
    // By chance and in range: parts of edges stand in every constant.
    each.privateKey = draw.bytes();
    each.privateKey[0] &= 0x7F;
    if constexpr (requires { each.nonce; }) {
      each.nonce = draw.bytes();
      each.nonce[0] &= 0x7F;
    }
  }
  const auto body = [](void* argument) -> void* {
    auto& it = *static_cast<Call<Operation>*>(argument);
    run(*it.row, it.operations.data(), kLanes);
    return nullptr;
  };
  stack.run(body, &call);
  size_t found = 0;
  for (const Operation& each : call.operations) {
    for (const Bytes32& secret : secretsOf(each)) {
      found += stack.count(tracesOf(secret));
    }
  }
  return found;
}

using Secrets = std::vector<Bytes32>;

}  // namespace

TEST_CASE("crypto: kernels leave no secret on the stack") {
  const Kernels* const row = avx512Kernels();
  if (row == nullptr) {
    MESSAGE("this processor has no AVX-512 IFMA: nothing to look at");
    return;
  }
  CHECK(tracesLeft<X25519Derive>(*row, [](const X25519Derive& each) {
          return Secrets{each.privateKey, each.shared};
        }) == 0);
  CHECK(tracesLeft<X25519Keygen>(
            *row, [](const X25519Keygen& each) { return Secrets{each.privateKey}; }) == 0);
  CHECK(tracesLeft<EcdsaSign>(*row, [](const EcdsaSign& each) {
          return Secrets{each.privateKey, each.nonce};
        }) == 0);
  CHECK(tracesLeft<P256Keygen>(
            *row, [](const P256Keygen& each) { return Secrets{each.privateKey}; }) == 0);
  CHECK(tracesLeft<P256Derive>(*row, [](const P256Derive& each) {
          return Secrets{each.privateKey, each.shared.x, each.shared.y};
        }) == 0);
}

TEST_CASE("crypto: a kernel that leaves a secret on the stack is found") {
  Kernels row = portableKernels();
  row.x25519Keygen = [](std::span<X25519Keygen* const> operations) {
    Bytes32 copy = operations[3]->privateKey;
    asm volatile("" : : "r"(&copy) : "memory");
  };
  CHECK(tracesLeft<X25519Keygen>(
            row, [](const X25519Keygen& each) { return Secrets{each.privateKey}; }) > 0);
}

TEST_CASE("crypto: what is wiped is zero") {
  Bytes32 bytes;
  bytes.fill(7);
  wipe(bytes);
  CHECK(bytes == Bytes32{});
}

}  // namespace weft::crypto
