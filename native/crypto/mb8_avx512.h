// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "crypto/mb8.h"

/// The row of avx512Kernels(), for its table: whoever calls these on a processor without AVX-512
/// IFMA is ended by SIGILL. Files of which name ends in _avx512 have the code.
namespace weft::crypto::avx512 {

void x25519Derive(std::span<X25519Derive* const> operations);
void x25519Keygen(std::span<X25519Keygen* const> operations);
void ecdsaVerify(std::span<EcdsaVerify* const> operations);
void ecdsaSign(std::span<EcdsaSign* const> operations);
void p256Keygen(std::span<P256Keygen* const> operations);
void p256Derive(std::span<P256Derive* const> operations);

}  // namespace weft::crypto::avx512
