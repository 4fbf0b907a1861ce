// SPDX-License-Identifier: Apache-2.0
#include "tls/record_reader.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace weft::tls {
namespace {

// The whole record's size by its header, which may not be trusted.
size_t recordBytes(std::span<const uint8_t> header) {
  return kRecordHeaderBytes + (static_cast<size_t>(header[3]) << 8 | header[4]);
}

struct Breach {
  uint8_t alert = 0;
  const char* what = nullptr;
};

// RFC 8446 section 5.2. The version is not looked at: section 5.1 asks for that, and it is
// authenticated.
Breach breachOfHeader(std::span<const uint8_t> header) {
  if (header[0] != static_cast<uint8_t>(ContentType::kApplicationData)) {
    return {SSL_AD_UNEXPECTED_MESSAGE, "a record that is not protected"};
  }
  if (recordBytes(header) > kRecordBytesMax) {
    return {SSL_AD_RECORD_OVERFLOW, "a record is too long"};
  }
  return {};
}

}  // namespace

bool RecordReader::start(uint16_t cipherSuite, std::span<const uint8_t> secret, uint64_t sequence) {
  return keys_.init(cipherSuite, secret, sequence);
}

Status RecordReader::open(std::span<uint8_t> record, RecordHandler& handler) {
  const std::optional<RecordKeys::Opened> opened = keys_.open(record);
  if (!opened) {
    return handler.onBreach(SSL_AD_BAD_RECORD_MAC, "BAD_DECRYPT");
  }
  if (opened->content.size() > kRecordPlainMax) {
    return handler.onBreach(SSL_AD_RECORD_OVERFLOW, "a record holds too much");
  }
  const auto type = static_cast<ContentType>(opened->type);
  const bool isData = type == ContentType::kApplicationData;
  if (!isData && type != ContentType::kHandshake && type != ContentType::kAlert) {
    return handler.onBreach(SSL_AD_UNEXPECTED_MESSAGE, "a record of an unknown type");
  }
  if (!opened->content.empty()) {
    emptyRecords_ = 0;
  } else if (!isData || ++emptyRecords_ > kEmptyRecordsMax) {
    return handler.onBreach(SSL_AD_UNEXPECTED_MESSAGE, "empty records");
  }
  return handler.onRecord(type, opened->content);
}

// Completes the record that an earlier call began, if `cipher` holds its rest.
Status RecordReader::finishPartial(std::span<uint8_t>& cipher, std::span<uint8_t> scratch,
                                   RecordHandler& handler) {
  const auto takeUpTo = [&](size_t bytes) {
    const size_t n = std::min(bytes - std::min(bytes, partial_.size()), cipher.size());
    partial_.append(cipher.first(n));
    cipher = cipher.subspan(n);
    return partial_.size() >= bytes;
  };
  if (!takeUpTo(kRecordHeaderBytes)) {
    return {};
  }
  const std::span<const uint8_t> header = partial_.bytes();
  if (const Breach breach = breachOfHeader(header); breach.what != nullptr) {
    return handler.onBreach(breach.alert, breach.what);
  }
  const size_t bytes = recordBytes(header);
  if (!takeUpTo(bytes)) {
    return {};
  }
  // What is handed out must outlive this call, and the memory held here must not.
  std::memcpy(scratch.data(), partial_.bytes().data(), bytes);
  partial_.consume(bytes);
  partial_.shrink();
  return open(scratch.first(bytes), handler);
}

Status RecordReader::keep(std::span<const uint8_t> cipher, RecordHandler& handler) {
  if (cipher.size() >= kRecordHeaderBytes) {
    if (const Breach breach = breachOfHeader(cipher); breach.what != nullptr) {
      return handler.onBreach(breach.alert, breach.what);
    }
    partial_.room(recordBytes(cipher));
  }
  partial_.append(cipher);
  return {};
}

Status RecordReader::receive(std::span<uint8_t> cipher, std::span<uint8_t> scratch,
                             RecordHandler& handler) {
  CHECK(scratch.size() >= kRecordBytesMax);
  if (!partial_.empty()) {
    Status status = finishPartial(cipher, scratch, handler);
    if (!status.ok()) {
      return status;
    }
  }
  while (cipher.size() >= kRecordHeaderBytes) {
    if (const Breach breach = breachOfHeader(cipher); breach.what != nullptr) {
      return handler.onBreach(breach.alert, breach.what);
    }
    const size_t bytes = recordBytes(cipher);
    if (cipher.size() < bytes) {
      break;
    }
    Status status = open(cipher.first(bytes), handler);
    if (!status.ok()) {
      return status;
    }
    cipher = cipher.subspan(bytes);
  }
  return cipher.empty() ? Status() : keep(cipher, handler);
}

}  // namespace weft::tls
