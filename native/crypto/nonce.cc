// SPDX-License-Identifier: Apache-2.0
#include "crypto/nonce.h"

#include <openssl/rand.h>
#include <openssl/sha.h>

#include <array>

#include "crypto/p256_range.h"
#include "crypto/wipe.h"

namespace weft::crypto {
namespace {

constexpr size_t kBlockBytes = 64;

/// HMAC-SHA-256 (RFC 2104) under one key, of which the two first blocks are hashed only once.
class Hmac {
 public:
  explicit Hmac(const Bytes32& key) {
    start(inner_, key, 0x36);
    start(outer_, key, 0x5c);
  }
  ~Hmac() {
    wipe(inner_);
    wipe(outer_);
  }
  Hmac(const Hmac&) = delete;
  Hmac& operator=(const Hmac&) = delete;

  /// The code of `parts`, one after the other. They may be where `out` is.
  template <typename... Parts>
  void code(Bytes32& out, const Parts&... parts) const {
    SHA256_CTX hash = inner_;
    (SHA256_Update(&hash, parts.data(), parts.size()), ...);
    SHA256_Final(out.data(), &hash);
    hash = outer_;
    SHA256_Update(&hash, out.data(), out.size());
    SHA256_Final(out.data(), &hash);
    wipe(hash);
  }

 private:
  static void start(SHA256_CTX& hash, const Bytes32& key, uint8_t pad) {
    std::array<uint8_t, kBlockBytes> block;
    block.fill(pad);
    for (size_t i = 0; i < key.size(); ++i) {
      block[i] ^= key[i];
    }
    SHA256_Init(&hash);
    SHA256_Update(&hash, block.data(), block.size());
    wipe(block);
  }

  SHA256_CTX inner_;
  SHA256_CTX outer_;
};

/// `digest` modulo n (RFC 6979 section 2.3.4: bits2octets).
Bytes32 reducedDigest(const Bytes32& digest) {
  Bytes32 less;
  const uint32_t below = subtractBytes(less, digest, kP256Order);
  return below != 0 ? digest : less;
}

using Byte = std::array<uint8_t, 1>;
constexpr Byte kZero = {0};
constexpr Byte kOne = {1};

}  // namespace

// The letters are those of section 3.2.
NonceGenerator::NonceGenerator(const Bytes32& privateKey, const Bytes32& digest,
                               std::span<const uint8_t> additional) {
  const Bytes32 reduced = reducedDigest(digest);
  value_.fill(0x01);                                                      // b
  key_.fill(0x00);                                                        // c
  Hmac(key_).code(key_, value_, kZero, privateKey, reduced, additional);  // d
  const Hmac hmac(key_);
  hmac.code(value_, value_);                                       // e
  hmac.code(key_, value_, kOne, privateKey, reduced, additional);  // f
}

NonceGenerator::~NonceGenerator() {
  wipe(key_);
  wipe(value_);
}

void NonceGenerator::next(Bytes32& nonce) {
  // That a number is not in range tells nothing of the one that is.
  do {
    if (refused_) {
      Hmac(key_).code(key_, value_, kZero);
    }
    refused_ = true;
    const Hmac hmac(key_);
    hmac.code(value_, value_);  // g, or the end of h
    hmac.code(value_, value_);  // h
  } while (!isP256Scalar(value_));
  nonce = value_;
}

bool hedgedNonce(const Bytes32& privateKey, const Bytes32& digest, Bytes32& nonce) {
  Bytes32 random;
  if (RAND_bytes(random.data(), random.size()) != 1) {
    return false;
  }
  NonceGenerator(privateKey, digest, random).next(nonce);
  wipe(random);
  return true;
}

}  // namespace weft::crypto
