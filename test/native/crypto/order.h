// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "crypto/mb8.h"

/// Arithmetic for making P-256's awkward inputs, by the TLS library.
namespace weft::crypto::order {

/// 32 bytes of 64 digits.
Bytes32 fromHex(std::string_view hex);

/// Modulo the group's order n. Big-endian.
Bytes32 product(const Bytes32& a, const Bytes32& b);
Bytes32 negative(const Bytes32& a);
Bytes32 inverse(const Bytes32& a);

/// a + p for the prime p of the field; false where that has more than 32 bytes.
bool plusPrime(const Bytes32& a, Bytes32& sum);
/// p - a.
Bytes32 primeMinus(const Bytes32& a);

/// a * G + b * `point`, which is on the curve. False for infinity.
bool combination(const Bytes32& a, const Bytes32& b, const P256Point& point, P256Point& sum);

}  // namespace weft::crypto::order
