// SPDX-License-Identifier: Apache-2.0
#include "tls/record_writer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace weft::tls {
namespace {

constexpr uint8_t kKeyUpdateMessage = 24;
constexpr size_t kOpenBytesMax = kRecordHeaderBytes + kRecordPlainMax;

}  // namespace

Buffer SpareBuffers::take() {
  if (spare_.empty()) {
    return {};
  }
  Buffer last = std::move(spare_.back());
  spare_.pop_back();
  return last;
}

void SpareBuffers::give(Buffer buffer) {
  CHECK(buffer.empty());
  if (spare_.size() < kBuffersMax && buffer.capacity() > 0 &&
      buffer.capacity() <= kBufferBytesMax) {
    spare_.push_back(std::move(buffer));
  }
}

RecordWriter::~RecordWriter() {
  buffer_.consume(buffer_.size());
  spare_.give(std::move(buffer_));
}

void RecordWriter::append(std::span<const uint8_t> bytes) {
  CHECK(openBytes_ == 0);
  borrow();
  buffer_.append(bytes);
}

bool RecordWriter::start(uint16_t cipherSuite, std::span<const uint8_t> secret, uint64_t sequence) {
  return ok_ = keys_.init(cipherSuite, secret, sequence);
}

std::span<uint8_t> RecordWriter::reserve(size_t min) {
  CHECK(min <= kReserveBytesMax);
  if (openBytes_ > 0 && kOpenBytesMax - openBytes_ < std::max<size_t>(min, 1)) {
    flush();
  }
  if (openBytes_ > 0) {
    return buffer_.room(min).first(kOpenBytesMax - openBytes_);
  }
  borrow();
  // For the whole record at once: so nothing moves while it is open.
  return buffer_.room(kRecordPlainMax + kRecordOverhead)
      .subspan(kRecordHeaderBytes, kRecordPlainMax);
}

void RecordWriter::commit(size_t n) {
  const size_t header = openBytes_ == 0 && n > 0 ? kRecordHeaderBytes : 0;
  buffer_.commit(header + n);
  openBytes_ += header + n;
  CHECK(openBytes_ <= kOpenBytesMax);
}

void RecordWriter::sealRecord(ContentType type) {
  buffer_.room(kRecordTrailerBytes);
  buffer_.commit(kRecordTrailerBytes);
  const size_t recordBytes = std::exchange(openBytes_, 0) + kRecordTrailerBytes;
  ok_ = ok_ && keys_.seal(buffer_.bytes().last(recordBytes), type);
  if (!ok_) {
    buffer_.consume(buffer_.size());  // plaintext must not leave in its stead
  }
}

void RecordWriter::sealWhole(ContentType type, std::span<const uint8_t> content) {
  flush();
  const std::span<uint8_t> room = reserve(content.size());
  std::copy(content.begin(), content.end(), room.begin());
  commit(content.size());
  sealRecord(type);
}

void RecordWriter::flush() {
  if (openBytes_ == 0) {
    giveBack();
    return;
  }
  sealRecord(ContentType::kApplicationData);
  if (ok_ && keys_.sequence() >= kRecordsPerKeyMax) {
    updateKeys(false);
  }
}

void RecordWriter::alert(uint8_t level, uint8_t description) {
  sealWhole(ContentType::kAlert, std::array{level, description});
}

void RecordWriter::updateKeys(bool peerToo) {
  sealWhole(ContentType::kHandshake,
            std::array<uint8_t, 5>{kKeyUpdateMessage, 0, 0, 1, peerToo ? uint8_t{1} : uint8_t{0}});
  ok_ = ok_ && keys_.update();
}

void RecordWriter::answerKeyUpdate() {
  if (answerBytes_ > 0) {
    return;
  }
  updateKeys(false);
  answerBytes_ = buffer_.size();
}

std::span<const uint8_t> RecordWriter::outgoing() const {
  return buffer_.bytes().first(buffer_.size() - openBytes_);
}

void RecordWriter::sent(size_t n) {
  CHECK(n <= buffer_.size() - openBytes_);
  buffer_.consume(n);
  answerBytes_ -= std::min(answerBytes_, n);
  giveBack();
}

void RecordWriter::borrow() {
  if (buffer_.capacity() == 0) {
    buffer_ = spare_.take();
  }
}

void RecordWriter::giveBack() {
  if (buffer_.empty()) {
    spare_.give(std::exchange(buffer_, Buffer()));
  }
}

}  // namespace weft::tls
