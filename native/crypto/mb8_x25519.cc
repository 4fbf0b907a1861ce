// SPDX-License-Identifier: Apache-2.0
#include <openssl/curve25519.h>

#include "crypto/mb8_portable.h"

namespace weft::crypto::portable {

void x25519Derive(std::span<X25519Derive* const> operations) {
  for (X25519Derive* const each : operations) {
    each->ok = X25519(each->shared.data(), each->privateKey.data(), each->peerPublic.data()) == 1;
  }
}

void x25519Keygen(std::span<X25519Keygen* const> operations) {
  for (X25519Keygen* const each : operations) {
    X25519_public_from_private(each->publicKey.data(), each->privateKey.data());
  }
}

}  // namespace weft::crypto::portable
