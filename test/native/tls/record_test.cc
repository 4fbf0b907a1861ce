// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/record.h"
#include "tls/records.h"

#include <doctest/doctest.h>
// clang-format on
#include <algorithm>

using weft::test::Bytes;
using weft::test::fromHex;
using weft::test::kSuite128;
using weft::test::kSuite256;
using weft::test::sealed;
using weft::test::secretOf;
using weft::tls::ContentType;
using weft::tls::kRecordOverhead;
using weft::tls::kRecordPlainMax;
using weft::tls::RecordKeys;

TEST_CASE("the records of RFC 8448 section 3 are made and read") {
  const Bytes secret = fromHex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
  const Bytes wire = fromHex(
      "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a2044"
      "1e"
      "2b62974e1f5a6292a2977014bd1e3deae6"
      "3aeebb21694915e4");
  RecordKeys seal;
  RecordKeys open;
  REQUIRE(seal.init(kSuite128, secret, 0));
  REQUIRE(open.init(kSuite128, secret, 0));
  Bytes content(50);
  for (size_t i = 0; i < content.size(); i++) {
    content[i] = static_cast<uint8_t>(i);
  }
  CHECK(sealed(seal, ContentType::kApplicationData, content) == wire);
  Bytes record = wire;
  const auto opened = open.open(record);
  REQUIRE(opened.has_value());
  CHECK(opened->type == 23);
  CHECK(Bytes(opened->content.begin(), opened->content.end()) == content);
  CHECK(opened->content.data() == record.data() + 5);
  // The close_notify behind it.
  CHECK(sealed(seal, ContentType::kAlert, {1, 0}) ==
        fromHex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"));
}

TEST_CASE("both suites carry records over changes of the keys") {
  for (const uint16_t suite : {kSuite128, kSuite256}) {
    RecordKeys seal;
    RecordKeys open;
    REQUIRE(seal.init(suite, secretOf(suite), 7));
    REQUIRE(open.init(suite, secretOf(suite), 7));
    for (uint8_t i = 0; i < 6; i++) {
      Bytes record = sealed(seal, ContentType::kHandshake, Bytes(i * 100U, i));
      const auto opened = open.open(record);
      REQUIRE(opened.has_value());
      CHECK(opened->type == 22);
      CHECK(Bytes(opened->content.begin(), opened->content.end()) == Bytes(i * 100U, i));
      if (i % 2 == 1) {
        REQUIRE(seal.update());
        REQUIRE(open.update());
        CHECK(seal.sequence() == 0);
      }
    }
  }
}

TEST_CASE("a record under other keys, out of order, changed or cut does not open") {
  RecordKeys seal;
  REQUIRE(seal.init(kSuite128, secretOf(kSuite128), 0));
  const Bytes first = sealed(seal, ContentType::kApplicationData, Bytes(40, 1));
  const auto opens = [](Bytes record, uint64_t sequence, bool updated = false) {
    RecordKeys keys;
    REQUIRE(keys.init(kSuite128, secretOf(kSuite128), sequence));
    if (updated) {
      REQUIRE(keys.update());
    }
    return keys.open(record).has_value();
  };
  CHECK(opens(first, 0));
  CHECK_FALSE(opens(first, 1));
  CHECK_FALSE(opens(first, 0, true));
  for (size_t at = 0; at < first.size(); at++) {
    Bytes changed = first;
    changed[at] ^= 0x10;
    CHECK_FALSE(opens(changed, 0));
    CHECK_FALSE(opens(Bytes(first.begin(), first.begin() + static_cast<long>(at)), 0));
  }
}

TEST_CASE("padding is taken off, and a record of padding alone has no type") {
  RecordKeys seal;
  RecordKeys open;
  REQUIRE(seal.init(kSuite128, secretOf(kSuite128), 0));
  REQUIRE(open.init(kSuite128, secretOf(kSuite128), 0));
  // A content that ends in type and padding, and a type that is padding too.
  Bytes padded = sealed(seal, ContentType{0}, {'a', 0, 'b', 23, 0, 0});
  const auto opened = open.open(padded);
  REQUIRE(opened.has_value());
  CHECK(opened->type == 23);
  CHECK(Bytes(opened->content.begin(), opened->content.end()) == Bytes{'a', 0, 'b'});
  Bytes nothing = sealed(seal, ContentType{0}, {0, 0, 0});
  const auto empty = open.open(nothing);
  REQUIRE(empty.has_value());
  CHECK(empty->type == 0);
  CHECK(empty->content.empty());
}

TEST_CASE("a record holds 16384 bytes and not one more") {
  RecordKeys seal;
  REQUIRE(seal.init(kSuite128, secretOf(kSuite128), 0));
  Bytes most(kRecordPlainMax + kRecordOverhead);
  CHECK(seal.seal(most, ContentType::kApplicationData));
  Bytes more(kRecordPlainMax + kRecordOverhead + 1);
  CHECK_FALSE(seal.seal(more, ContentType::kApplicationData));
  Bytes tooSmall(kRecordOverhead - 1);
  CHECK_FALSE(seal.seal(tooSmall, ContentType::kApplicationData));
  CHECK(seal.sequence() == 1);
}

TEST_CASE("sequence numbers end before they come round") {
  RecordKeys seal;
  RecordKeys open;
  REQUIRE(seal.init(kSuite128, secretOf(kSuite128), UINT64_MAX - 1));
  REQUIRE(open.init(kSuite128, secretOf(kSuite128), UINT64_MAX - 1));
  Bytes last = sealed(seal, ContentType::kApplicationData, {1});
  CHECK(open.open(last).has_value());
  Bytes record(kRecordOverhead);
  CHECK_FALSE(seal.seal(record, ContentType::kApplicationData));
  CHECK_FALSE(open.open(record).has_value());
}

TEST_CASE("keys of other suites or lengths are refused") {
  RecordKeys keys;
  CHECK_FALSE(keys.init(0x1303, Bytes(32, 1), 0));
  CHECK_FALSE(keys.init(kSuite128, Bytes(48, 1), 0));
  CHECK_FALSE(keys.init(kSuite256, Bytes(32, 1), 0));
}
