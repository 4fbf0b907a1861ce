// SPDX-License-Identifier: Apache-2.0
#include "crypto/vectors.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

namespace weft::crypto::vectors {
namespace {

/// What stands between spaces.
std::vector<std::string_view> wordsOf(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t end = line.find(' ');
    words.push_back(line.substr(0, end));
    if (end == std::string_view::npos) {
      return words;
    }
    line.remove_prefix(end + 1);
  }
}

bool parse(std::string_view hex, Bytes32& bytes) {
  if (hex.size() != 2 * bytes.size()) {
    return false;
  }
  for (size_t i = 0; i < bytes.size(); i++) {
    const char* const first = hex.data() + 2 * i;
    const auto [end, error] = std::from_chars(first, first + 2, bytes[i], 16);
    if (error != std::errc() || end != first + 2) {
      return false;
    }
  }
  return true;
}

/// One line: operation, name, numbers, verdict.
struct Line {
  std::vector<std::string_view> words;

  /// Reads the numbers to where they belong.
  bool read(std::initializer_list<Bytes32*> numbers) const {
    return words.size() == numbers.size() + 3 &&
           std::ranges::equal(std::span(words).subspan(2, numbers.size()), numbers,
                              [](std::string_view hex, Bytes32* to) { return parse(hex, *to); });
  }

  template <typename Operation>
  bool add(bool complete, const Operation& wanted, Vectors& vectors) const {
    if (complete) {
      std::get<std::vector<Vector<Operation>>>(vectors).push_back(
          {std::string(words[0]) + " " + std::string(words[1]), wanted});
    }
    return complete;
  }
};

}  // namespace

bool addLine(std::string_view text, Vectors& vectors) {
  const Line line{wordsOf(text)};
  const std::string_view operation = line.words.front();
  const bool ok = line.words.back() == "accept";
  if (!ok && line.words.back() != "refuse") {
    return false;
  }
  if (operation == Of<X25519Derive>::kName) {
    X25519Derive v{};
    v.ok = ok;
    return line.add(line.read({&v.privateKey, &v.peerPublic, &v.shared}), v, vectors);
  }
  if (operation == Of<X25519Keygen>::kName) {
    X25519Keygen v{};
    return line.add(ok && line.read({&v.privateKey, &v.publicKey}), v, vectors);
  }
  if (operation == Of<EcdsaVerify>::kName) {
    EcdsaVerify v{};
    v.ok = ok;
    return line.add(line.read({&v.digest, &v.r, &v.s, &v.publicKey.x, &v.publicKey.y}), v, vectors);
  }
  if (operation == Of<EcdsaSign>::kName) {
    EcdsaSign v{};
    v.ok = ok;
    return line.add(line.read({&v.digest, &v.privateKey, &v.nonce, &v.r, &v.s}), v, vectors);
  }
  if (operation == Of<P256Keygen>::kName) {
    P256Keygen v{};
    v.ok = ok;
    return line.add(line.read({&v.privateKey, &v.publicKey.x, &v.publicKey.y}), v, vectors);
  }
  if (operation == Of<P256Derive>::kName) {
    P256Derive v{};
    v.ok = ok;
    return line.add(line.read({&v.privateKey, &v.peerPublic.x, &v.peerPublic.y, &v.shared.x}), v,
                    vectors);
  }
  return false;
}

}  // namespace weft::crypto::vectors
