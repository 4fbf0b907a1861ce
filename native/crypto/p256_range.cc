// SPDX-License-Identifier: Apache-2.0
#include "crypto/p256_range.h"

#include "crypto/wipe.h"

namespace weft::crypto {

bool isP256Scalar(const Bytes32& a) {
  Bytes32 difference;
  const uint32_t below = subtractBytes(difference, a, kP256Order);
  wipe(difference);
  uint32_t any = 0;
  for (const uint8_t byte : a) {
    any |= byte;
  }
  // Borrows where all bytes are 0.
  const uint32_t zero = (any - 1) >> 31;
  return static_cast<bool>(below & (zero ^ 1));
}

}  // namespace weft::crypto
