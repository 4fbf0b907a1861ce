// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/mb8.h"

namespace weft::crypto {

/// The order n of P-256 (SP 800-186 section 3.2.1.3), big-endian.
constexpr Bytes32 kP256Order = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
                                0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};

/// `a - b` in `out`, big-endian and modulo 2^256; returns 1 where `a` is less than `b`, else 0.
/// Takes the same time for all numbers.
inline uint32_t subtractBytes(Bytes32& out, const Bytes32& a, const Bytes32& b) {
  uint32_t borrow = 0;
  for (size_t i = out.size(); i-- > 0;) {
    const uint32_t difference = uint32_t{a[i]} - b[i] - borrow;
    out[i] = static_cast<uint8_t>(difference);
    borrow = difference >> 31;
  }
  return borrow;
}

/// True where `a`, big-endian, is in [1, n-1]. Takes the same time for all numbers.
bool isP256Scalar(const Bytes32& a);

}  // namespace weft::crypto
