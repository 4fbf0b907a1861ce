// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/buffer.h"
#include "base/status.h"
#include "tls/record.h"

namespace weft::tls {

/// Takes what a RecordReader opens.
class RecordHandler {
 public:
  virtual ~RecordHandler() = default;
  /// One record's content, in place; it is never both empty and not application data. A status
  /// that is not ok ends receive() with it.
  virtual Status onRecord(ContentType type, std::span<uint8_t> content) = 0;
  /// The peer broke the record protocol, in the way that `alert` names (RFC 8446 section 6.2).
  /// Returns what receive() answers. The reader is spent.
  virtual Status onBreach(uint8_t alert, const char* what) = 0;
};

/// The receiving half of a session in records: cuts the byte stream into records and opens each in
/// place. Only a record that has not wholly come is kept. Sans-I/O; not thread safe.
class RecordReader {
 public:
  /// Empty records in a row that a peer may send.
  static constexpr size_t kEmptyRecordsMax = 32;

  /// From here on all is opened with these keys; see RecordKeys::init().
  [[nodiscard]] bool start(uint16_t cipherSuite, std::span<const uint8_t> secret,
                           uint64_t sequence);
  /// Goes to the peer's next keys. For the handler, after the KeyUpdate that announces them.
  [[nodiscard]] bool updateKeys() { return keys_.update(); }

  /// Takes all of `cipher` and hands what it opens to `handler`. Contents stand in `cipher`, or,
  /// for a record that began in an earlier call, in `scratch` (at least kRecordBytesMax).
  Status receive(std::span<uint8_t> cipher, std::span<uint8_t> scratch, RecordHandler& handler);

  /// Bytes of a partial record that are held, and the memory that takes.
  size_t held() const { return partial_.size(); }
  size_t capacity() const { return partial_.capacity(); }

 private:
  Status open(std::span<uint8_t> record, RecordHandler& handler);
  Status finishPartial(std::span<uint8_t>& cipher, std::span<uint8_t> scratch,
                       RecordHandler& handler);
  Status keep(std::span<const uint8_t> cipher, RecordHandler& handler);

  RecordKeys keys_;
  Buffer partial_;
  size_t emptyRecords_ = 0;
};

}  // namespace weft::tls
