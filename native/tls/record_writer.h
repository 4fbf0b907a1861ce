// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "tls/record.h"

namespace weft::tls {

/// Send buffers that no session needs at the moment, so that an idle session holds none and a busy
/// one need not grow its buffer again each time. One per worker; not thread safe.
class SpareBuffers {
 public:
  static constexpr size_t kBuffersMax = 8;
  static constexpr size_t kBufferBytesMax = 512 << 10;

  /// A spare one, or a new one without memory.
  Buffer take();
  /// Keeps an empty buffer, or frees it: at most kBuffersMax are kept, none over kBufferBytesMax.
  void give(Buffer buffer);
  size_t size() const { return spare_.size(); }

 private:
  std::vector<Buffer> spare_;
};

/// The sending half of a session in records: plaintext is written to its final place in the open
/// record and sealed there. Sans-I/O; not thread safe; `spare` outlives it.
class RecordWriter {
 public:
  /// RFC 8446 section 5.5 allows 2^24.5 full records under one AES-GCM key.
  static constexpr uint64_t kRecordsPerKeyMax = 1ULL << 24;
  static constexpr size_t kReserveBytesMax = 4096;

  explicit RecordWriter(SpareBuffers& spare) : spare_(spare) {}
  ~RecordWriter();

  /// Takes bytes that go out as they are: the handshake's, before start().
  void append(std::span<const uint8_t> bytes);
  /// From here on all is sealed under these keys; see RecordKeys::init().
  [[nodiscard]] bool start(uint16_t cipherSuite, std::span<const uint8_t> secret,
                           uint64_t sequence);

  /// Room in the open record: at least `min` (<= kReserveBytesMax) bytes, at most what the record
  /// can still take. A record that has less left than `min` is sealed and another one opened.
  std::span<uint8_t> reserve(size_t min);
  /// The first `n` bytes of the room become part of the open record.
  void commit(size_t n);
  /// Seals the open record.
  void flush();
  /// Seals what is open, then an alert (RFC 8446 section 6) behind it.
  void alert(uint8_t level, uint8_t description);
  /// Seals what is open, then KeyUpdate (section 4.6.3), and goes to the next keys.
  void updateKeys(bool peerToo);
  /// The peer asked for new keys. Answers once for all requests that come until the answer is sent,
  /// or a peer that does not read could make us hold any number of answers.
  void answerKeyUpdate();

  /// False once the keys failed: nothing can be sealed any more.
  bool ok() const { return ok_; }
  std::span<const uint8_t> outgoing() const;
  void sent(size_t n);
  /// Bytes held, sealed or not.
  size_t unsent() const { return buffer_.size(); }
  /// Bytes of memory held, for tests.
  size_t capacity() const { return buffer_.capacity(); }

 private:
  void sealRecord(ContentType type);
  void borrow();
  void giveBack();
  void sealWhole(ContentType type, std::span<const uint8_t> content);

  SpareBuffers& spare_;
  RecordKeys keys_;
  Buffer buffer_;
  size_t openBytes_ = 0;    // of the open record at the buffer's end, header included; 0 for none
  size_t answerBytes_ = 0;  // still to send until an answer to KeyUpdate has left
  bool ok_ = true;
};

}  // namespace weft::tls
