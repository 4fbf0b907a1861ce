// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/record_reader.h"
#include "tls/records.h"

#include <doctest/doctest.h>
// clang-format on
#include <openssl/aead.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <optional>

using weft::Code;
using weft::Status;
using weft::test::Bytes;
using weft::test::fromHex;
using weft::test::kSuite128;
using weft::test::sealed;
using weft::test::secretOf;
using weft::tls::ContentType;
using weft::tls::kRecordBytesMax;
using weft::tls::kRecordOverhead;
using weft::tls::kRecordPlainMax;
using weft::tls::RecordKeys;
using weft::tls::RecordReader;

namespace {

struct Near final : weft::tls::RecordHandler {
  RecordReader reader;
  Bytes plain;
  std::vector<ContentType> types;
  std::vector<std::span<uint8_t>> spans;
  std::optional<uint8_t> alert;
  Status answer;
  Bytes scratch = Bytes(kRecordBytesMax);

  explicit Near(const Bytes& secret = secretOf(kSuite128)) {
    REQUIRE(reader.start(kSuite128, secret, 0));
  }
  Status onRecord(ContentType type, std::span<uint8_t> content) override {
    types.push_back(type);
    spans.push_back(content);
    plain.insert(plain.end(), content.begin(), content.end());
    return answer;
  }
  Status onBreach(uint8_t with, const char* what) override {
    CHECK_FALSE(alert.has_value());
    alert = with;
    return Status(Code::kInvalid, what);
  }
  Status receive(Bytes& bytes) { return reader.receive(bytes, scratch, *this); }
  void give(Bytes bytes) { CHECK(receive(bytes).ok()); }
};

struct Sealer {
  RecordKeys keys;
  Sealer() { REQUIRE(keys.init(kSuite128, secretOf(kSuite128), 0)); }
  Bytes operator()(const Bytes& content, ContentType type = ContentType::kApplicationData) {
    return sealed(keys, type, content);
  }
};

void append(Bytes& to, const Bytes& more) {
  to.insert(to.end(), more.begin(), more.end());
}

std::optional<uint8_t> alertFor(Bytes bytes) {
  Near near;
  const Status status = near.receive(bytes);
  CHECK(status.ok() == !near.alert.has_value());
  CHECK(near.plain.empty());
  return near.alert;
}

}  // namespace

TEST_CASE("records open however the stream is cut, and nothing is held afterwards") {
  Sealer seal;
  Bytes wire;
  Bytes expected;
  for (const size_t n : {1, 0, 30, 7}) {
    append(wire, seal(Bytes(n, static_cast<uint8_t>('a' + n))));
    append(expected, Bytes(n, static_cast<uint8_t>('a' + n)));
  }
  for (size_t first = 0; first <= wire.size(); first++) {
    for (size_t second = first; second <= wire.size(); second += 5) {
      Near near;
      const auto at = [&](size_t i) { return wire.begin() + static_cast<long>(i); };
      near.give(Bytes(at(0), at(first)));
      near.give(Bytes(at(first), at(second)));
      near.give(Bytes(at(second), at(wire.size())));
      REQUIRE(near.plain == expected);
      REQUIRE(near.reader.capacity() == 0);
    }
  }
}

TEST_CASE("a stream may come byte by byte") {
  Sealer seal;
  Near near;
  const Bytes content(kRecordPlainMax, 'z');
  for (const uint8_t byte : seal(content)) {
    CHECK(near.reader.held() < kRecordBytesMax);
    near.give({byte});
  }
  CHECK(near.plain == content);
  CHECK(near.reader.capacity() == 0);
}

TEST_CASE("contents stand in what was given; only the rest of a cut record moves") {
  Sealer seal;
  Near near;
  Bytes wire = seal(Bytes(100, 1));
  append(wire, seal(Bytes(200, 2)));
  Bytes head(wire.begin(), wire.end() - 50);
  Bytes tail(wire.end() - 50, wire.end());
  REQUIRE(near.receive(head).ok());
  REQUIRE(near.spans.size() == 1);
  CHECK(near.spans[0].data() == head.data() + 5);
  CHECK(near.reader.held() == 200 + kRecordOverhead - 50);
  // One record's memory, not one byte more.
  CHECK(near.reader.capacity() == 200 + kRecordOverhead);
  REQUIRE(near.receive(tail).ok());
  REQUIRE(near.spans.size() == 2);
  CHECK(near.spans[1].data() == near.scratch.data() + 5);
  CHECK(std::equal(near.spans[0].begin(), near.spans[0].end(), near.plain.begin()));
  CHECK(std::equal(near.spans[1].begin(), near.spans[1].end(), near.plain.begin() + 100));
}

TEST_CASE("a record that breaks the protocol is answered with the fitting alert") {
  Bytes plain = Sealer()({1});
  plain[0] = 22;
  CHECK(alertFor(plain) == SSL_AD_UNEXPECTED_MESSAGE);
  plain[0] = 20;
  CHECK(alertFor(plain) == SSL_AD_UNEXPECTED_MESSAGE);
  CHECK(alertFor({23, 3, 3, 0x41, 0x01}) == SSL_AD_RECORD_OVERFLOW);
  CHECK_FALSE(alertFor({23, 3, 3, 0x41, 0x00}).has_value());
  CHECK(alertFor({23, 3, 3, 0, 16, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}) ==
        SSL_AD_BAD_RECORD_MAC);
  CHECK(alertFor({23, 3, 3, 0, 0}) == SSL_AD_BAD_RECORD_MAC);
  Bytes changed = Sealer()({1});
  changed.back() ^= 1;
  CHECK(alertFor(changed) == SSL_AD_BAD_RECORD_MAC);
  CHECK(alertFor(Sealer()({}, ContentType::kAlert)) == SSL_AD_UNEXPECTED_MESSAGE);
  CHECK(alertFor(Sealer()({}, ContentType::kHandshake)) == SSL_AD_UNEXPECTED_MESSAGE);
  CHECK(alertFor(Sealer()({0, 0}, ContentType{0})) == SSL_AD_UNEXPECTED_MESSAGE);
  CHECK(alertFor(Sealer()({1}, ContentType{20})) == SSL_AD_UNEXPECTED_MESSAGE);
  CHECK(alertFor(Sealer()({1}, ContentType{24})) == SSL_AD_UNEXPECTED_MESSAGE);
}

TEST_CASE("a header is judged before the record has come") {
  Near near;
  Bytes head = {23, 3, 3};
  REQUIRE(near.receive(head).ok());
  Bytes rest = {0x41, 0x01};
  CHECK_FALSE(near.receive(rest).ok());
  CHECK(near.alert == SSL_AD_RECORD_OVERFLOW);
}

TEST_CASE("padding may fill a record up to its limit, content may not") {
  // The keys that RFC 8448 section 3 derives from this secret.
  const Bytes secret = fromHex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
  const Bytes key = fromHex("17422dda596ed5d9acd890e3c63f5051");
  const Bytes iv = fromHex("5b78923dee08579033e523d9");
  const auto record = [&](size_t content, size_t padding) {
    Bytes made(5 + content + 1 + padding + 16);
    const size_t body = made.size() - 5;
    made[0] = 23;
    made[1] = made[2] = 3;
    made[3] = static_cast<uint8_t>(body >> 8);
    made[4] = static_cast<uint8_t>(body);
    made[5 + content] = 23;
    bssl::ScopedEVP_AEAD_CTX context;
    size_t n = 0;
    REQUIRE(EVP_AEAD_CTX_init(context.get(), EVP_aead_aes_128_gcm(), key.data(), key.size(), 16,
                              nullptr) == 1);
    REQUIRE(EVP_AEAD_CTX_seal(context.get(), made.data() + 5, &n, body, iv.data(), iv.size(),
                              made.data() + 5, body - 16, made.data(), 5) == 1);
    return made;
  };
  Near full(secret);
  full.give(record(kRecordPlainMax, 0));
  CHECK(full.plain.size() == kRecordPlainMax);
  Near padded(secret);
  Bytes wire = record(100, kRecordPlainMax + 256 - 17 - 100);
  CHECK(wire.size() == kRecordBytesMax);
  padded.give(Bytes(wire.begin(), wire.begin() + 10));
  padded.give(Bytes(wire.begin() + 10, wire.end()));
  CHECK(padded.plain.size() == 100);
  Near over(secret);
  Bytes more = record(kRecordPlainMax + 1, 0);
  CHECK_FALSE(over.receive(more).ok());
  CHECK(over.alert == SSL_AD_RECORD_OVERFLOW);
}

TEST_CASE("32 empty records in a row are let pass, the next is not") {
  Sealer seal;
  Near near;
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < RecordReader::kEmptyRecordsMax; i++) {
      near.give(seal({}));
    }
    near.give(seal({1}));
  }
  for (size_t i = 0; i < RecordReader::kEmptyRecordsMax; i++) {
    near.give(seal({}));
  }
  Bytes next = seal({});
  CHECK_FALSE(near.receive(next).ok());
  CHECK(near.alert == SSL_AD_UNEXPECTED_MESSAGE);
}

TEST_CASE("a handler that refuses ends the call with its status") {
  Sealer seal;
  Near near;
  near.answer = Status(Code::kLimit, "enough");
  Bytes wire = seal({1});
  append(wire, seal({2}));
  CHECK(near.receive(wire).code() == Code::kLimit);
  CHECK(near.plain == Bytes{1});
}

TEST_CASE("the peer's next keys hold from the next record on") {
  Sealer seal;
  Near near;
  near.give(seal({1}));
  REQUIRE(seal.keys.update());
  REQUIRE(near.reader.updateKeys());
  near.give(seal({2}));
  CHECK(near.plain == Bytes{1, 2});
}
