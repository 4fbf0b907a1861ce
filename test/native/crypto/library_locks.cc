// SPDX-License-Identifier: Apache-2.0
// Counts the locks that the TLS library takes: the linker leads all its calls here (--wrap).
#include "crypto/library_locks.h"

namespace {
thread_local int held = 0;
thread_local uint64_t taken = 0;
}  // namespace

#define COUNTED_LOCK(name)                     \
  extern "C" void __real_##name(void* mutex);  \
  extern "C" void __wrap_##name(void* mutex) { \
    __real_##name(mutex);                      \
    held++;                                    \
    taken++;                                   \
  }
#define COUNTED_UNLOCK(name)                   \
  extern "C" void __real_##name(void* mutex);  \
  extern "C" void __wrap_##name(void* mutex) { \
    held--;                                    \
    __real_##name(mutex);                      \
  }

COUNTED_LOCK(CRYPTO_MUTEX_lock_read)
COUNTED_LOCK(CRYPTO_MUTEX_lock_write)
COUNTED_LOCK(CRYPTO_STATIC_MUTEX_lock_read)
COUNTED_LOCK(CRYPTO_STATIC_MUTEX_lock_write)
COUNTED_UNLOCK(CRYPTO_MUTEX_unlock_read)
COUNTED_UNLOCK(CRYPTO_MUTEX_unlock_write)
COUNTED_UNLOCK(CRYPTO_STATIC_MUTEX_unlock_read)
COUNTED_UNLOCK(CRYPTO_STATIC_MUTEX_unlock_write)

namespace weft::test {

int libraryLocksHeld() {
  return held;
}

uint64_t libraryLocksTaken() {
  return taken;
}

}  // namespace weft::test
