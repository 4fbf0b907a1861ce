// SPDX-License-Identifier: Apache-2.0
#include "crypto/mb8.h"

#include "crypto/mb8_portable.h"

#ifdef __x86_64__
#include <cpuid.h>

#include <initializer_list>

#include "crypto/mb8_avx512.h"
#endif

namespace weft::crypto {
namespace {

constexpr Kernels kPortable = {
    "portable",          portable::x25519Derive, portable::x25519Keygen, portable::ecdsaVerify,
    portable::ecdsaSign, portable::p256Keygen,   portable::p256Derive,
};

#ifdef __x86_64__

constexpr Kernels kAvx512 = {
    "avx512",          avx512::x25519Derive, avx512::x25519Keygen, avx512::ecdsaVerify,
    avx512::ecdsaSign, avx512::p256Keygen,   avx512::p256Derive,
};

constexpr unsigned bitsOf(std::initializer_list<unsigned> places) {
  unsigned mask = 0;
  for (const unsigned place : places) {
    mask |= 1U << place;
  }
  return mask;
}

// CPUID leaf 1, ECX: OSXSAVE. Leaf 7, EBX: BMI2, AVX512F, DQ, IFMA, BW and VL; ECX: VBMI2. What
// the files of kernels are compiled for, and nothing else.
constexpr unsigned kLeaf1Ecx = bitsOf({27});
constexpr unsigned kLeaf7Ebx = bitsOf({8, 16, 17, 21, 30, 31});
constexpr unsigned kLeaf7Ecx = bitsOf({6});
// XCR0: the system saves XMM, YMM, mask registers, and both parts of ZMM.
constexpr unsigned kXcr0 = bitsOf({1, 2, 5, 6, 7});

unsigned xcr0() {
  unsigned low = 0;
  unsigned high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool processorHasAll() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kLeaf1Ecx) != kLeaf1Ecx) {
    return false;
  }
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) {
    return false;
  }
  return (ebx & kLeaf7Ebx) == kLeaf7Ebx && (ecx & kLeaf7Ecx) == kLeaf7Ecx &&
         (xcr0() & kXcr0) == kXcr0;
}

#endif

}  // namespace

const Kernels& portableKernels() {
  return kPortable;
}

const Kernels* avx512Kernels() {
#ifdef __x86_64__
  static const bool has = processorHasAll();
  return has ? &kAvx512 : nullptr;
#else
  return nullptr;
#endif
}

}  // namespace weft::crypto
