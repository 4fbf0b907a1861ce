// SPDX-License-Identifier: Apache-2.0
#include "crypto/draw.h"

#include <algorithm>
#include <iterator>

#include "crypto/operations.h"
#include "crypto/order.h"

namespace weft::crypto {
namespace {

// Beside 0, the order n, the prime p, 2^256 and the limbs of 52 bits.
constexpr const char* kNumbers[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000001",
    "0000000000000000000000000000000000000000000000000000000000000002",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254f",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632552",
    "ffffffff00000001000000000000000000000000fffffffffffffffffffffffe",
    "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    "ffffffff00000001000000000000000000000001000000000000000000000000",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "000000000000000000000000000000000000000000000000000fffffffffffff",
    "0000000000000000000000000000000000000000000000000010000000000000",
    "8000000000000000000000000000000000000000000000000000000000000000",
    "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8",
    "0000000000000000000000004319055358e8617b0c46353d039cdaae00000000",
};

// On the curve, x and y: x small, so that x + p has 32 bytes, too; x below p; x above n.
constexpr const char* kPoints[][2] = {
    {"0000000000000000000000000000000000000000000000000000000000000000",
     "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4"},
    {"0000000000000000000000000000000000000000000000000000000000000005",
     "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc"},
    {"000000000000000000000000000000000000000000000000003fffffffffffff",
     "4399d32e89ea513d62787830890478007db90a4f1cb4947f1a73c507eee920a3"},
    {"ffffffff00000001000000000000000000000000fffffffffffffffffffffffc",
     "19719bebf6aea13f25c96dfd7c71f5225d4c8fc09eb5a0ab9f39e9178e55c121"},
    {"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632554",
     "484f0c0fda434ef0a808458914f328715d7a545e198ac7eee31dffe861b5d23f"},
    {"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632555",
     "d74a1a9b022e6411c4c2ee6437a4c1fe543a73cdd50fa10ebb4073157a998e30"},
};
// From which of them on x is n + kPastOrder[i].
constexpr size_t kFirstPastOrder = 4;
constexpr const char* kPastOrder[] = {
    "0000000000000000000000000000000000000000000000000000000000000003",
    "0000000000000000000000000000000000000000000000000000000000000004",
};

// Little-endian. RFC 7748 section 6.1: of low order, canonical and not; then p + 2, p + 9, 2^255
// - 1.
constexpr const char* kCoordinates25519[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

P256Point pointOf(const char* const (&coordinates)[2]) {
  return {order::fromHex(coordinates[0]), order::fromHex(coordinates[1])};
}

bool inRange(const Bytes32& number) {
  static const Bytes32 zero{};
  static const Bytes32 n = order::fromHex(kNumbers[5]);
  return number != zero && number < n;
}

void flip(Bytes32& bytes, uint64_t bit) {
  bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ (1U << (bit % 8)));
}

}  // namespace

Bytes32 Draw::bytes() {
  Bytes32 bytes;
  std::ranges::generate(bytes, [&] { return static_cast<uint8_t>(engine_()); });
  return bytes;
}

Bytes32 Draw::runs() {
  Bytes32 bytes{};
  bool one = below(2) == 1;
  for (uint64_t bit = 0; bit < 256; one = !one) {
    for (uint64_t rest = 1 + below(104); rest > 0 && bit < 256; rest--, bit++) {
      if (one) {
        flip(bytes, bit);
      }
    }
  }
  return bytes;
}

Bytes32 Draw::number() {
  switch (below(8)) {
    case 0:
      return order::fromHex(kNumbers[below(std::size(kNumbers))]);
    case 1:
      return runs();
    default:
      return bytes();
  }
}

Bytes32 Draw::scalar() {
  while (true) {
    const Bytes32 candidate = number();
    if (inRange(candidate)) {
      return candidate;
    }
  }
}

Bytes32 Draw::coordinate25519() {
  switch (below(8)) {
    case 0: {
      Bytes32 edge = order::fromHex(kCoordinates25519[below(std::size(kCoordinates25519))]);
      // The top bit is nobody's business.
      edge[31] = static_cast<uint8_t>(edge[31] | (below(2) << 7));
      return edge;
    }
    case 1:
      return runs();
    default:
      return bytes();
  }
}

P256Point Draw::validPoint() {
  if (below(8) == 0) {
    return pointOf(kPoints[below(std::size(kPoints))]);
  }
  P256Keygen keygen{};
  keygen.privateKey = scalar();
  run(portableKernels(), &keygen, 1);
  return keygen.publicKey;
}

P256Point Draw::point() {
  P256Point point = validPoint();
  switch (below(24)) {
    case 0:
      flip(below(2) == 0 ? point.x : point.y, below(256));
      break;
    case 1:
      point.y = order::primeMinus(point.y);
      break;
    case 2:
      return {number(), number()};
    case 3:
    case 4:
      point = pointOf(kPoints[below(3)]);
      order::plusPrime(point.x, point.x);
      break;
    default:
      break;
  }
  return point;
}

void Draw::fill(X25519Derive& operation) {
  operation.privateKey = below(8) == 0 ? runs() : bytes();
  operation.peerPublic = coordinate25519();
}

void Draw::fill(X25519Keygen& operation) {
  operation.privateKey = below(8) == 0 ? runs() : bytes();
}

void Draw::fill(EcdsaSign& operation) {
  operation.digest = number();
  operation.privateKey = number();
  operation.nonce = number();
}

void Draw::fill(P256Keygen& operation) {
  operation.privateKey = number();
}

void Draw::fill(P256Derive& operation) {
  operation.privateKey = number();
  operation.peerPublic = point();
}

/// Something else than what was signed, or the same by other numbers.
void Draw::change(EcdsaVerify& operation) {
  switch (below(8)) {
    case 0:
      flip(operation.digest, below(256));
      break;
    case 1:
      flip(operation.r, below(256));
      break;
    case 2:
      flip(operation.s, below(256));
      break;
    case 3:
      operation.s = order::negative(operation.s);
      break;
    case 4:
      operation.publicKey = point();
      break;
    case 5:
      operation.publicKey.y = order::primeMinus(operation.publicKey.y);
      break;
    case 6:
      operation.r = number();
      break;
    default:
      operation.s = number();
      break;
  }
}

void Draw::fill(EcdsaVerify& operation) {
  const uint64_t kind = below(16);
  operation.digest = number();
  if (kind == 0) {
    // A point R of which x is n or more, and the key for which it comes out: (s R - e G) / r.
    const size_t which = below(std::size(kPastOrder));
    operation.r = order::fromHex(kPastOrder[which]);
    operation.s = scalar();
    const Bytes32 inverse = order::inverse(operation.r);
    const Bytes32 a = order::product(order::negative(operation.digest), inverse);
    const Bytes32 b = order::product(operation.s, inverse);
    if (order::combination(a, b, pointOf(kPoints[kFirstPastOrder + which]), operation.publicKey)) {
      return;
    }
  }
  if (kind == 1) {
    // A key for which both halves of u1 G + u2 Q are the same point, or cancel each other.
    operation.r = scalar();
    operation.s = scalar();
    Bytes32 key = order::product(operation.digest, order::inverse(operation.r));
    key = below(2) == 0 ? key : order::negative(key);
    P256Keygen keygen{};
    keygen.privateKey = key;
    run(portableKernels(), &keygen, 1);
    operation.publicKey = keygen.publicKey;
    return;
  }
  EcdsaSign sign{};
  sign.digest = operation.digest;
  sign.privateKey = scalar();
  sign.nonce = scalar();
  run(portableKernels(), &sign, 1);
  P256Keygen keygen{};
  keygen.privateKey = sign.privateKey;
  run(portableKernels(), &keygen, 1);
  operation.r = sign.r;
  operation.s = sign.s;
  operation.publicKey = keygen.publicKey;
  if (kind < 9) {
    change(operation);
  }
}

}  // namespace weft::crypto
