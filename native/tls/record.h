// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/aead.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace weft::tls {

/// Most plaintext in one record, and what a record adds to it (RFC 8446 section 5).
inline constexpr size_t kRecordPlainMax = 16384;
inline constexpr size_t kRecordHeaderBytes = 5;
inline constexpr size_t kRecordTrailerBytes = 1 + 16;  ///< Content type and tag.
inline constexpr size_t kRecordOverhead = kRecordHeaderBytes + kRecordTrailerBytes;
/// The largest record a peer may send: the limit of section 5.2 leaves it room for padding.
inline constexpr size_t kRecordBytesMax = kRecordHeaderBytes + kRecordPlainMax + 256;

/// What a protected record carries (RFC 8446 section 5.1).
enum class ContentType : uint8_t { kAlert = 21, kHandshake = 22, kApplicationData = 23 };

/// The traffic keys of one direction of a TLS 1.3 connection. They seal and open records in place:
/// plaintext and ciphertext share their memory. Sans-I/O; not thread safe. Secrets are wiped.
class RecordKeys {
 public:
  RecordKeys();
  RecordKeys(const RecordKeys&) = delete;
  RecordKeys& operator=(const RecordKeys&) = delete;
  ~RecordKeys();

  /// Derives the keys of RFC 8446 section 7.3 from a traffic secret. `sequence` is the number of
  /// the next record. False when the suite is not TLS_AES_128_GCM_SHA256 or TLS_AES_256_GCM_SHA384,
  /// or the secret has not its length.
  [[nodiscard]] bool init(uint16_t cipherSuite, std::span<const uint8_t> secret, uint64_t sequence);
  /// Goes to the next generation of the secret (section 7.2); its first record has number 0.
  [[nodiscard]] bool update();

  /// Makes a record of the content that stands behind room for the header; `record` has
  /// kRecordTrailerBytes more. Fails when the content is over kRecordPlainMax or the sequence
  /// numbers are used up.
  [[nodiscard]] bool seal(std::span<uint8_t> record, ContentType type);

  struct Opened {
    std::span<uint8_t> content;  ///< Within the record.
    uint8_t type = 0;            ///< As sent; 0 when the record held padding alone.
  };
  /// Checks and decrypts `record`, header included. Empty when it is not authentic; then its bytes
  /// are lost, and the keys must not be used again.
  std::optional<Opened> open(std::span<uint8_t> record);

  /// The number of the next record.
  uint64_t sequence() const { return sequence_; }

 private:
  static constexpr size_t kNonceBytes = 12;

  std::array<uint8_t, kNonceBytes> nonce() const;
  bool derive();
  bool expand(const char* label, std::span<uint8_t> out) const;
  void wipeKey();

  const EVP_MD* digest_ = nullptr;
  const EVP_AEAD* aead_ = nullptr;
  EVP_AEAD_CTX context_;
  std::array<uint8_t, 48> secret_{};
  size_t secretBytes_ = 0;
  std::array<uint8_t, kNonceBytes> iv_{};
  uint64_t sequence_ = 0;
};

}  // namespace weft::tls
