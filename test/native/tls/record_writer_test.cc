// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/record_reader.h"
#include "tls/record_writer.h"
#include "tls/records.h"

#include <doctest/doctest.h>
// clang-format on
#include <algorithm>
#include <utility>

using weft::Buffer;
using weft::Status;
using weft::test::Bytes;
using weft::test::kSuite128;
using weft::test::secretOf;
using weft::tls::ContentType;
using weft::tls::kRecordBytesMax;
using weft::tls::kRecordOverhead;
using weft::tls::kRecordPlainMax;
using weft::tls::RecordReader;
using weft::tls::RecordWriter;
using weft::tls::SpareBuffers;

namespace {

struct Record {
  ContentType type;
  Bytes content;
};

// The far end: opens what was sent, and follows KeyUpdate.
struct Far final : weft::tls::RecordHandler {
  RecordReader reader;
  std::vector<Record> records;
  size_t updates = 0;

  explicit Far(uint64_t sequence = 0) {
    REQUIRE(reader.start(kSuite128, secretOf(kSuite128), sequence));
  }
  Status onRecord(ContentType type, std::span<uint8_t> content) override {
    records.push_back({type, Bytes(content.begin(), content.end())});
    if (type == ContentType::kHandshake) {
      updates++;
      REQUIRE(reader.updateKeys());
    }
    return {};
  }
  Status onBreach(uint8_t, const char* what) override {
    FAIL(what);
    return {};
  }
  void take(RecordWriter& from) {
    Bytes bytes(from.outgoing().begin(), from.outgoing().end());
    from.sent(bytes.size());
    Bytes scratch(kRecordBytesMax);
    REQUIRE(reader.receive(bytes, scratch, *this).ok());
  }
};

struct Fixture {
  SpareBuffers spare;
  RecordWriter writer{spare};
  explicit Fixture(uint64_t sequence = 0) {
    REQUIRE(writer.start(kSuite128, secretOf(kSuite128), sequence));
  }
  void write(size_t n, uint8_t byte = 'x') {
    while (n > 0) {
      const auto room = writer.reserve(1);
      const size_t some = std::min(n, room.size());
      std::fill_n(room.begin(), some, byte);
      writer.commit(some);
      n -= some;
    }
  }
};

}  // namespace

TEST_CASE("plaintext is sealed in the very place it was written to") {
  Fixture f;
  const auto room = f.writer.reserve(4096);
  CHECK(room.size() == kRecordPlainMax);
  std::fill_n(room.begin(), 100, uint8_t{1});
  f.writer.commit(100);
  const auto more = f.writer.reserve(10);
  CHECK(more.data() == room.data() + 100);
  f.writer.commit(10);
  CHECK(f.writer.outgoing().empty());
  CHECK(f.writer.unsent() == 115);
  f.writer.flush();
  CHECK(f.writer.outgoing().size() == 110 + kRecordOverhead);
  CHECK(f.writer.outgoing().data() + 5 == room.data());
}

TEST_CASE("a record is closed when it is full, or has less left than is asked for") {
  Fixture f;
  f.write(kRecordPlainMax - 100);
  CHECK(f.writer.reserve(100).size() == 100);
  CHECK(f.writer.outgoing().empty());
  CHECK(f.writer.reserve(101).size() == kRecordPlainMax);
  CHECK(f.writer.outgoing().size() == kRecordPlainMax - 100 + kRecordOverhead);
  f.write(kRecordPlainMax + 1);
  f.writer.flush();
  Far far;
  far.take(f.writer);
  REQUIRE(far.records.size() == 3);
  CHECK(far.records[0].content.size() == kRecordPlainMax - 100);
  CHECK(far.records[1].content.size() == kRecordPlainMax);
  CHECK(far.records[2].content.size() == 1);
}

TEST_CASE("room that nothing was written to makes no record") {
  Fixture f;
  f.writer.reserve(1);
  f.writer.commit(0);
  CHECK(f.writer.unsent() == 0);
  f.writer.flush();
  CHECK(f.writer.outgoing().empty());
  CHECK(f.writer.capacity() == 0);
}

TEST_CASE("bytes of the handshake go out before the first record, as they are") {
  SpareBuffers spare;
  RecordWriter writer(spare);
  writer.append(Bytes{1, 2, 3});
  REQUIRE(writer.start(kSuite128, secretOf(kSuite128), 0));
  writer.reserve(1)[0] = 'a';
  writer.commit(1);
  CHECK(writer.outgoing().size() == 3);
  writer.flush();
  CHECK(writer.outgoing().size() == 3 + 1 + kRecordOverhead);
  writer.sent(3);
  Far far;
  far.take(writer);
  CHECK(far.records[0].content == Bytes{'a'});
}

TEST_CASE("an alert comes behind what was committed before it") {
  Fixture f;
  f.write(3);
  f.writer.alert(1, 0);
  Far far;
  far.take(f.writer);
  REQUIRE(far.records.size() == 2);
  CHECK(far.records[1].type == ContentType::kAlert);
  CHECK(far.records[1].content == Bytes{1, 0});
}

TEST_CASE("keys are changed before they have sealed more than 2^24 records") {
  Fixture f(RecordWriter::kRecordsPerKeyMax - 2);
  Far far(RecordWriter::kRecordsPerKeyMax - 2);
  for (int i = 0; i < 4; i++) {
    f.write(1);
    f.writer.flush();
    far.take(f.writer);
    CHECK(far.updates == (i >= 1 ? 1 : 0));
  }
  CHECK(f.writer.ok());
  // Not asking for the peer's: it counts its own.
  CHECK(far.records[2].content == Bytes{24, 0, 0, 1, 0});
}

TEST_CASE("a peer that asks for new keys and does not read is answered once") {
  Fixture f;
  Far far;
  f.write(5);
  for (int i = 0; i < 100; i++) {
    f.writer.answerKeyUpdate();
  }
  f.write(5);
  f.writer.flush();
  f.writer.answerKeyUpdate();
  far.take(f.writer);
  CHECK(far.updates == 1);
  CHECK(far.records.size() == 3);
  f.writer.answerKeyUpdate();
  far.take(f.writer);
  CHECK(far.updates == 2);
}

TEST_CASE("what was sent in part stays in order") {
  Fixture f;
  Bytes wire;
  for (int i = 0; i < 50; i++) {
    f.write(1000, static_cast<uint8_t>(i));
    f.writer.flush();
    const size_t n = std::min<size_t>(f.writer.outgoing().size(), 700);
    wire.insert(wire.end(), f.writer.outgoing().begin(), f.writer.outgoing().begin() + 700);
    f.writer.sent(n);
  }
  wire.insert(wire.end(), f.writer.outgoing().begin(), f.writer.outgoing().end());
  Far far;
  Bytes scratch(kRecordBytesMax);
  REQUIRE(far.reader.receive(wire, scratch, far).ok());
  REQUIRE(far.records.size() == 50);
  for (size_t i = 0; i < 50; i++) {
    CHECK(far.records[i].content == Bytes(1000, static_cast<uint8_t>(i)));
  }
}

TEST_CASE("an idle writer holds no memory, and the next one finds it") {
  Fixture f;
  f.write(100'000);
  f.writer.flush();
  const size_t grown = f.writer.capacity();
  f.writer.sent(f.writer.outgoing().size());
  CHECK(f.writer.capacity() == 0);
  CHECK(f.spare.size() == 1);
  RecordWriter other(f.spare);
  REQUIRE(other.start(kSuite128, secretOf(kSuite128), 0));
  other.reserve(1);
  CHECK(other.capacity() == grown);
  CHECK(f.spare.size() == 0);
}

TEST_CASE("a writer that ends gives its memory back") {
  SpareBuffers spare;
  {
    RecordWriter writer(spare);
    writer.append(Bytes(100, 1));
  }
  CHECK(spare.size() == 1);
}

TEST_CASE("few spare buffers are kept, and no large one") {
  SpareBuffers spare;
  const auto give = [&](size_t bytes) {
    Buffer buffer;
    if (bytes > 0) {
      buffer.room(bytes);
    }
    spare.give(std::move(buffer));
  };
  give(0);
  give(SpareBuffers::kBufferBytesMax + 1);
  CHECK(spare.size() == 0);
  for (size_t i = 0; i < SpareBuffers::kBuffersMax + 1; i++) {
    give(SpareBuffers::kBufferBytesMax);
    CHECK(spare.size() == std::min(i + 1, SpareBuffers::kBuffersMax));
  }
}

TEST_CASE("when sealing fails no plaintext leaves in its stead") {
  Fixture f(UINT64_MAX - 1);
  // A last record goes; the change of keys behind it cannot be sealed any more.
  f.write(10);
  f.writer.flush();
  CHECK_FALSE(f.writer.ok());
  f.write(10);
  f.writer.flush();
  CHECK_FALSE(f.writer.ok());
  CHECK(f.writer.outgoing().empty());
}
