// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "crypto/mb8.h"

namespace weft::crypto {

inline bool samePoint(const P256Point& a, const P256Point& b) {
  return a.x == b.x && a.y == b.y;
}

inline void spoilPoint(P256Point& a) {
  a.x.fill(0x5A);
  a.y.fill(0x5A);
}

/// What tests know of each operation: its name, its place in a row, which
/// answers are equal, and how to make an answer wrong before a kernel is to give it.
template <typename Operation>
struct Of;

template <>
struct Of<X25519Derive> {
  static constexpr const char* kName = "x25519-derive";
  static constexpr auto kKernel = &Kernels::x25519Derive;
  static void spoil(X25519Derive& a) {
    a.shared.fill(0x5A);
    a.ok = !a.ok;
  }
  static bool same(const X25519Derive& a, const X25519Derive& b) {
    return a.ok == b.ok && a.shared == b.shared;
  }
};

template <>
struct Of<X25519Keygen> {
  static constexpr const char* kName = "x25519-keygen";
  static constexpr auto kKernel = &Kernels::x25519Keygen;
  static void spoil(X25519Keygen& a) { a.publicKey.fill(0x5A); }
  static bool same(const X25519Keygen& a, const X25519Keygen& b) {
    return a.publicKey == b.publicKey;
  }
};

template <>
struct Of<EcdsaVerify> {
  static constexpr const char* kName = "ecdsa-verify";
  static constexpr auto kKernel = &Kernels::ecdsaVerify;
  static void spoil(EcdsaVerify& a) { a.ok = !a.ok; }
  static bool same(const EcdsaVerify& a, const EcdsaVerify& b) { return a.ok == b.ok; }
};

// Where an operation of P-256 is refused, nothing is said of its other results.
template <>
struct Of<EcdsaSign> {
  static constexpr const char* kName = "ecdsa-sign";
  static constexpr auto kKernel = &Kernels::ecdsaSign;
  static void spoil(EcdsaSign& a) {
    a.r.fill(0x5A);
    a.s.fill(0x5A);
    a.ok = !a.ok;
  }
  static bool same(const EcdsaSign& a, const EcdsaSign& b) {
    return a.ok == b.ok && (!a.ok || (a.r == b.r && a.s == b.s));
  }
};

template <>
struct Of<P256Keygen> {
  static constexpr const char* kName = "p256-keygen";
  static constexpr auto kKernel = &Kernels::p256Keygen;
  static void spoil(P256Keygen& a) {
    spoilPoint(a.publicKey);
    a.ok = !a.ok;
  }
  static bool same(const P256Keygen& a, const P256Keygen& b) {
    return a.ok == b.ok && (!a.ok || samePoint(a.publicKey, b.publicKey));
  }
};

template <>
struct Of<P256Derive> {
  static constexpr const char* kName = "p256-derive";
  static constexpr auto kKernel = &Kernels::p256Derive;
  static void spoil(P256Derive& a) {
    spoilPoint(a.shared);
    a.ok = !a.ok;
  }
  static bool same(const P256Derive& a, const P256Derive& b) {
    return a.ok == b.ok && (!a.ok || samePoint(a.shared, b.shared));
  }
};

/// Runs `count` operations from `first` on, at most kLanes, on one row.
template <typename Operation>
void run(const Kernels& row, Operation* first, size_t count) {
  std::array<Operation*, kLanes> lanes;
  for (size_t i = 0; i < count; i++) {
    lanes[i] = first + i;
  }
  (row.*Of<Operation>::kKernel)(std::span<Operation* const>(lanes.data(), count));
}

}  // namespace weft::crypto
