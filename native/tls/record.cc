// SPDX-License-Identifier: Apache-2.0
#include "tls/record.h"

#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/hkdf.h>
#include <openssl/mem.h>

#include <cstring>
#include <string_view>

namespace weft::tls {
namespace {

constexpr uint16_t kAes128GcmSha256 = 0x1301;
constexpr uint16_t kAes256GcmSha384 = 0x1302;
constexpr size_t kTagBytes = 16;

}  // namespace

RecordKeys::RecordKeys() {
  EVP_AEAD_CTX_zero(&context_);
}

RecordKeys::~RecordKeys() {
  wipeKey();
  OPENSSL_cleanse(secret_.data(), secret_.size());
  OPENSSL_cleanse(iv_.data(), iv_.size());
}

// The library's own clean-up leaves the round keys in place.
void RecordKeys::wipeKey() {
  EVP_AEAD_CTX_cleanup(&context_);
  OPENSSL_cleanse(&context_, sizeof context_);
  EVP_AEAD_CTX_zero(&context_);
}

bool RecordKeys::init(uint16_t cipherSuite, std::span<const uint8_t> secret, uint64_t sequence) {
  if (cipherSuite == kAes128GcmSha256) {
    digest_ = EVP_sha256();
    aead_ = EVP_aead_aes_128_gcm();
  } else if (cipherSuite == kAes256GcmSha384) {
    digest_ = EVP_sha384();
    aead_ = EVP_aead_aes_256_gcm();
  } else {
    return false;
  }
  secretBytes_ = EVP_MD_size(digest_);
  if (secret.size() != secretBytes_) {
    return false;
  }
  std::memcpy(secret_.data(), secret.data(), secretBytes_);
  sequence_ = sequence;
  return derive();
}

// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
bool RecordKeys::expand(const char* label, std::span<uint8_t> out) const {
  const std::string_view name(label);
  std::array<uint8_t, 64> info{};
  size_t n = 0;
  info[n++] = static_cast<uint8_t>(out.size() >> 8);
  info[n++] = static_cast<uint8_t>(out.size());
  info[n++] = static_cast<uint8_t>(6 + name.size());
  std::memcpy(info.data() + n, "tls13 ", 6);
  std::memcpy(info.data() + n + 6, name.data(), name.size());
  n += 6 + name.size();
  info[n++] = 0;
  return HKDF_expand(out.data(), out.size(), digest_, secret_.data(), secretBytes_, info.data(),
                     n) == 1;
}

bool RecordKeys::derive() {
  std::array<uint8_t, 32> key{};
  const size_t keyBytes = EVP_AEAD_key_length(aead_);
  wipeKey();
  const bool ok =
      expand("key", std::span(key).first(keyBytes)) && expand("iv", iv_) &&
      EVP_AEAD_CTX_init(&context_, aead_, key.data(), keyBytes, kTagBytes, nullptr) == 1;
  OPENSSL_cleanse(key.data(), key.size());
  return ok;
}

bool RecordKeys::update() {
  std::array<uint8_t, 48> next{};
  const std::span<uint8_t> fresh = std::span(next).first(secretBytes_);
  const bool ok = expand("traffic upd", fresh);
  std::memcpy(secret_.data(), fresh.data(), fresh.size());
  OPENSSL_cleanse(next.data(), next.size());
  sequence_ = 0;
  return ok && derive();
}

std::array<uint8_t, RecordKeys::kNonceBytes> RecordKeys::nonce() const {
  std::array<uint8_t, kNonceBytes> made = iv_;
  for (size_t i = 0; i < 8; i++) {
    made[kNonceBytes - 1 - i] ^= static_cast<uint8_t>(sequence_ >> (8 * i));
  }
  return made;
}

bool RecordKeys::seal(std::span<uint8_t> record, ContentType type) {
  if (record.size() < kRecordOverhead || record.size() > kRecordPlainMax + kRecordOverhead ||
      sequence_ == UINT64_MAX) {
    return false;
  }
  const std::span<uint8_t> header = record.first(kRecordHeaderBytes);
  const std::span<uint8_t> body = record.subspan(kRecordHeaderBytes);
  const size_t plainBytes = body.size() - kTagBytes;
  header[0] = static_cast<uint8_t>(ContentType::kApplicationData);
  header[1] = 3;
  header[2] = 3;
  header[3] = static_cast<uint8_t>(body.size() >> 8);
  header[4] = static_cast<uint8_t>(body.size());
  body[plainBytes - 1] = static_cast<uint8_t>(type);
  size_t written = 0;
  const auto once = nonce();
  if (EVP_AEAD_CTX_seal(&context_, body.data(), &written, body.size(), once.data(), once.size(),
                        body.data(), plainBytes, header.data(), header.size()) != 1) {
    ERR_clear_error();
    return false;
  }
  sequence_++;
  return written == body.size();
}

std::optional<RecordKeys::Opened> RecordKeys::open(std::span<uint8_t> record) {
  if (record.size() < kRecordOverhead || sequence_ == UINT64_MAX) {
    return std::nullopt;
  }
  const std::span<uint8_t> header = record.first(kRecordHeaderBytes);
  const std::span<uint8_t> body = record.subspan(kRecordHeaderBytes);
  size_t plainBytes = 0;
  const auto once = nonce();
  if (EVP_AEAD_CTX_open(&context_, body.data(), &plainBytes, body.size(), once.data(), once.size(),
                        body.data(), body.size(), header.data(), header.size()) != 1) {
    ERR_clear_error();
    return std::nullopt;
  }
  sequence_++;
  while (plainBytes > 0 && body[plainBytes - 1] == 0) {
    plainBytes--;
  }
  if (plainBytes == 0) {
    return Opened{};
  }
  return Opened{body.first(plainBytes - 1), body[plainBytes - 1]};
}

}  // namespace weft::tls
