// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "crypto/mb8.h"

/// The row of portableKernels(), for its table.
namespace weft::crypto::portable {

void x25519Derive(std::span<X25519Derive* const> operations);
void x25519Keygen(std::span<X25519Keygen* const> operations);
void ecdsaVerify(std::span<EcdsaVerify* const> operations);
void ecdsaSign(std::span<EcdsaSign* const> operations);
void p256Keygen(std::span<P256Keygen* const> operations);
void p256Derive(std::span<P256Derive* const> operations);

}  // namespace weft::crypto::portable
