// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "crypto/operations.h"

namespace weft::crypto::vectors {

/// An operation with the answer that it must have.
template <typename Operation>
struct Vector {
  std::string name;
  Operation wanted;
};

/// True where `got` is what `wanted` says.
template <typename Operation>
bool answers(const Operation& wanted, const Operation& got) {
  return Of<Operation>::same(wanted, got);
}
/// Vectors of ECDH have the x coordinate alone.
inline bool answers(const P256Derive& wanted, const P256Derive& got) {
  return wanted.ok == got.ok && (!wanted.ok || wanted.shared.x == got.shared.x);
}

/// Vectors of all operations.
using Vectors = std::tuple<std::vector<Vector<X25519Derive>>, std::vector<Vector<X25519Keygen>>,
                           std::vector<Vector<EcdsaVerify>>, std::vector<Vector<EcdsaSign>>,
                           std::vector<Vector<P256Keygen>>, std::vector<Vector<P256Derive>>>;

/// Reads one line, "operation name inputs outputs accept" (or "refuse"), numbers in hex in the
/// order of the operation's members. False, and nothing is added, where it is no such line.
bool addLine(std::string_view line, Vectors& vectors);

/// The lines that are wrong when `vectors` run on `row`: each in every lane, beside its
/// neighbours in the list. Each says "name, lane".
template <typename Operation>
std::vector<std::string> wrong(const Kernels& row, std::span<const Vector<Operation>> vectors) {
  std::vector<std::string> found;
  for (size_t turn = 0; turn < kLanes; turn++) {
    for (size_t first = 0; first < vectors.size(); first += kLanes) {
      std::array<Operation, kLanes> lanes;
      std::array<const Vector<Operation>*, kLanes> source;
      for (size_t lane = 0; lane < kLanes; lane++) {
        source[lane] = &vectors[(first + (lane + turn) % kLanes) % vectors.size()];
        lanes[lane] = source[lane]->wanted;
        Of<Operation>::spoil(lanes[lane]);
      }
      run(row, lanes.data(), kLanes);
      for (size_t lane = 0; lane < kLanes; lane++) {
        if (!answers(source[lane]->wanted, lanes[lane])) {
          found.push_back(source[lane]->name + ", lane " + std::to_string(lane));
        }
      }
    }
  }
  return found;
}

}  // namespace weft::crypto::vectors
