// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/bn.h>
#include <openssl/ssl.h>

#include <initializer_list>

#include "tls/test_ca.h"

/// Messages of TLS 1.3 byte by byte, for those that no library would send.
namespace weft::test {

inline constexpr uint16_t kX25519 = SSL_GROUP_X25519;
inline constexpr uint16_t kP256 = SSL_GROUP_SECP256R1;
inline constexpr uint16_t kP384 = SSL_GROUP_SECP384R1;
inline constexpr uint16_t kHybrid = SSL_GROUP_X25519_MLKEM768;
inline constexpr uint16_t kAes128 = 0x1301;
inline constexpr uint16_t kChaCha20 = 0x1303;

inline Bytes number(uint64_t value, size_t bytes) {
  Bytes out;
  while (bytes-- > 0) {
    out.push_back(static_cast<uint8_t>(value >> (8 * bytes)));
  }
  return out;
}

inline Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

/// `content` behind its length in so many bytes.
inline Bytes prefixed(size_t bytes, const Bytes& content) {
  return joined({number(content.size(), bytes), content});
}

inline Bytes extension(uint16_t type, const Bytes& content) {
  return joined({number(type, 2), prefixed(2, content)});
}

inline Bytes record(uint8_t type, const Bytes& content) {
  return joined({{type, 3, 3}, prefixed(2, content)});
}

inline Bytes fromHex(const char* digits) {
  BIGNUM* value = nullptr;
  Bytes out(static_cast<size_t>(BN_hex2bn(&value, digits)) / 2);
  const bssl::UniquePtr<BIGNUM> owned(value);
  need(BN_bn2bin_padded(out.data(), out.size(), value) == 1);
  return out;
}

/// RFC 8446 section 4.1.3: the random of a ServerHello that asks for another ClientHello.
inline const Bytes& retryRandom() {
  static const Bytes kRandom =
      fromHex("CF21AD74E59A6111BE1D8C021E65B891C2A211167ABB8C5E079E09E2C8A8339C");
  return kRandom;
}

/// SP 800-186 section 3.2.1.3.
inline const Bytes& basePoint() {
  static const Bytes kPoint = fromHex(
      "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C2964FE342E2FE1A7F9B8EE7EB4A7C"
      "0F9E162BCE33576B315ECECBB6406837BF51F5");
  return kPoint;
}

/// Of order 8 on Curve25519, little-endian.
inline const Bytes& pointOfLowOrder() {
  static const Bytes kPoint =
      fromHex("E0EB7A7C3B41B8AE1656E3FAF19FC46ADA098DEB9C32B1FD866205165F49B800");
  return kPoint;
}

inline Bytes changed(Bytes bytes, size_t at, uint8_t bit) {
  bytes.at(at) ^= bit;
  return bytes;
}

inline Bytes share(uint16_t group, const Bytes& key) {
  return extension(TLSEXT_TYPE_key_share, joined({number(group, 2), prefixed(2, key)}));
}

/// The last alert among records, none of which is encrypted; 0 when there is none.
inline int alertIn(const Bytes& said) {
  int alert = 0;
  for (size_t at = 0; at + 5 <= said.size();) {
    const size_t size = static_cast<size_t>(said[at + 3]) << 8 | said[at + 4];
    if (said[at] == SSL3_RT_ALERT && size == 2) {
      alert = said.at(at + 6);
    }
    at += 5 + size;
  }
  return alert;
}

}  // namespace weft::test
