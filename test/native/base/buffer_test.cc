// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <utility>
#include <vector>

using weft::Buffer;
using Bytes = std::vector<uint8_t>;

namespace {

Bytes held(const Buffer& buffer) {
  return Bytes(buffer.bytes().begin(), buffer.bytes().end());
}

}  // namespace

TEST_CASE("bytes leave a buffer in the order they came") {
  std::mt19937 random(7);
  Buffer buffer;
  std::deque<uint8_t> expected;
  uint8_t next = 0;
  for (size_t step = 0; step < 5000; step++) {
    if (random() % 2 == 0) {
      Bytes more(random() % 300);
      std::generate(more.begin(), more.end(), [&] { return next++; });
      buffer.append(more);
      expected.insert(expected.end(), more.begin(), more.end());
    } else {
      const size_t n = random() % (buffer.size() + 1);
      buffer.consume(n);
      expected.erase(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(n));
    }
    REQUIRE(
        std::equal(expected.begin(), expected.end(), buffer.bytes().begin(), buffer.bytes().end()));
  }
}

TEST_CASE("room is at least what was asked for, and counts only once committed") {
  Buffer buffer;
  buffer.append(Bytes{1, 2});
  const std::span<uint8_t> room = buffer.room(100);
  CHECK(room.size() >= 100);
  CHECK(buffer.size() == 2);
  room[0] = 3;
  buffer.commit(1);
  CHECK(held(buffer) == Bytes{1, 2, 3});
}

TEST_CASE("a buffer that ran empty uses its memory anew") {
  Buffer buffer;
  buffer.append(Bytes(1000));
  const size_t capacity = buffer.capacity();
  for (size_t i = 0; i < 100; i++) {
    buffer.consume(buffer.size());
    CHECK(buffer.empty());
    buffer.append(Bytes(1000));
  }
  CHECK(buffer.capacity() == capacity);
}

TEST_CASE("consumed space in front is used before the buffer grows") {
  Buffer buffer;
  buffer.append(Bytes(1000, 1));
  const size_t capacity = buffer.capacity();
  buffer.consume(600);
  buffer.append(Bytes(500, 2));
  CHECK(buffer.capacity() == capacity);
  CHECK(buffer.size() == 900);
  CHECK(buffer.bytes()[399] == 1);
  CHECK(buffer.bytes()[400] == 2);
}

TEST_CASE("only an empty buffer gives its memory back") {
  Buffer buffer;
  buffer.shrink();
  buffer.append({});
  CHECK(buffer.capacity() == 0);
  buffer.append(Bytes{1});
  buffer.shrink();
  CHECK(held(buffer) == Bytes{1});
  buffer.consume(1);
  buffer.shrink();
  CHECK(buffer.capacity() == 0);
  buffer.append(Bytes{2});
  CHECK(held(buffer) == Bytes{2});
}

TEST_CASE("a buffer moves with its bytes") {
  Buffer from;
  from.append(Bytes{1, 2, 3});
  Buffer to(std::move(from));
  CHECK(held(to) == Bytes{1, 2, 3});
  Buffer third;
  third.append(Bytes{9});
  third = std::move(to);
  CHECK(held(third) == Bytes{1, 2, 3});
}
