// SPDX-License-Identifier: Apache-2.0
#include "crypto/nonce.h"

#include <doctest/doctest.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <set>
#include <string_view>
#include <vector>

#include "crypto/p256_numbers.h"
#include "crypto/p256_range.h"

using namespace weft::crypto;

namespace {

Bytes32 fromHex(const char* digits) {
  return test::bytesOf(test::numberOfHex(digits).get());
}

Bytes32 sha256(std::string_view text) {
  Bytes32 out;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), out.data());
  return out;
}

// RFC 6979 A.2.5.
const Bytes32 kKey = {0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba, 0x75, 0x16, 0x6b, 0x5c, 0x21,
                      0x57, 0x67, 0xb1, 0xd6, 0x93, 0x4e, 0x50, 0xc3, 0xdb, 0x36, 0xe8,
                      0x9b, 0x12, 0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21};

}  // namespace

TEST_CASE("a nonce without additional bytes is the one of RFC 6979") {
  Bytes32 nonce;
  NonceGenerator(kKey, sha256("sample"), {}).next(nonce);
  CHECK(nonce == fromHex("A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60"));
  NonceGenerator(kKey, sha256("test"), {}).next(nonce);
  CHECK(nonce == fromHex("D16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0"));
}

TEST_CASE("a nonce that was refused is followed by the next one of RFC 6979") {
  // K and V of section 3.2, step by step, with the library's HMAC.
  Bytes32 k{};
  Bytes32 v;
  v.fill(1);
  const auto hmac = [&](Bytes32& out, std::vector<Bytes32> parts, int separator) {
    std::vector<uint8_t> text(v.begin(), v.end());
    if (separator >= 0) {
      text.push_back(static_cast<uint8_t>(separator));
    }
    for (const Bytes32& part : parts) {
      text.insert(text.end(), part.begin(), part.end());
    }
    Bytes32 code;
    HMAC(EVP_sha256(), k.data(), k.size(), text.data(), text.size(), code.data(), nullptr);
    out = code;
  };
  const Bytes32 digest = sha256("sample");
  const Bytes32 random = sha256("random");
  hmac(k, {kKey, digest, random}, 0);
  hmac(v, {}, -1);
  hmac(k, {kKey, digest, random}, 1);
  hmac(v, {}, -1);
  NonceGenerator generator(kKey, digest, random);
  for (int i = 0; i < 5; ++i) {
    hmac(v, {}, -1);
    Bytes32 nonce;
    generator.next(nonce);
    CHECK(nonce == v);
    hmac(k, {}, 0);
    hmac(v, {}, -1);
  }
}

TEST_CASE("a nonce depends on the key, the digest and the additional bytes") {
  const Bytes32 digest = sha256("sample");
  const Bytes32 random = sha256("random");
  std::set<Bytes32> nonces;
  const auto note = [&](const Bytes32& key, const Bytes32& of,
                        std::span<const uint8_t> additional) {
    Bytes32 nonce;
    NonceGenerator(key, of, additional).next(nonce);
    CHECK(isP256Scalar(nonce));
    nonces.insert(nonce);
  };
  note(kKey, digest, {});
  note(kKey, digest, random);
  note(kKey, sha256("test"), random);
  note(random, digest, random);
  note(kKey, digest, std::span(random).first(31));
  CHECK(nonces.size() == 5);
}

TEST_CASE("a digest that is not below the order counts modulo it") {
  Bytes32 one{};
  one[31] = 1;
  Bytes32 orderAndOne = kP256Order;
  orderAndOne[31] += 1;
  Bytes32 a;
  Bytes32 b;
  NonceGenerator(kKey, one, {}).next(a);
  NonceGenerator(kKey, orderAndOne, {}).next(b);
  CHECK(a == b);
}

TEST_CASE("hedged nonces of one digest differ, and are in range") {
  std::set<Bytes32> nonces;
  for (int i = 0; i < 1000; ++i) {
    Bytes32 nonce;
    CHECK(hedgedNonce(kKey, sha256("sample"), nonce));
    CHECK(isP256Scalar(nonce));
    nonces.insert(nonce);
  }
  CHECK(nonces.size() == 1000);
}

TEST_CASE("scalars of P-256 are from 1 to n - 1") {
  const auto n = [](int more) {
    Bytes32 out = kP256Order;
    out[31] = static_cast<uint8_t>(out[31] + more);
    return out;
  };
  Bytes32 small{};
  CHECK_FALSE(isP256Scalar(small));
  small[31] = 1;
  CHECK(isP256Scalar(small));
  CHECK(isP256Scalar(n(-1)));
  CHECK_FALSE(isP256Scalar(n(0)));
  CHECK_FALSE(isP256Scalar(n(1)));
  Bytes32 ones;
  ones.fill(0xff);
  CHECK_FALSE(isP256Scalar(ones));
}
