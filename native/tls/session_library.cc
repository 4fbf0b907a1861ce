// SPDX-License-Identifier: Apache-2.0
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <utility>

#include "base/buffer.h"
#include "base/check.h"
#include "tls/handshake.h"
#include "tls/record_writer.h"
#include "tls/session_rows.h"

namespace weft::tls {
namespace {

/// An emptied buffer of more than this goes back to the allocator once its peak was small.
constexpr size_t kIdleBufferBytesMax = 32 << 10;
constexpr size_t kReserveBytesMax = RecordWriter::kReserveBytesMax;

class LibrarySession final : public Session, private HandshakeOutput {
 public:
  LibrarySession(std::shared_ptr<const Identity> own, ExpectedIdentities expected,
                 SessionContext& context, Role role, Resumption resumption)
      : handshake_(std::move(own), std::move(expected), context, role, std::move(resumption),
                   *this) {}

  Status start(int64_t nowSeconds, SessionOwner* owner) override;
  bool waits() const override { return handshake_.waits(); }
  void abandon() override;
  Status receive(std::span<uint8_t> cipher, PlainScratch scratch, int64_t nowSeconds,
                 PlainSink& sink) override;
  std::span<uint8_t> reserve(size_t min) override;
  void commit(size_t n) override { plain_.commit(n); }
  Status seal() override;
  void closeNotify() override;
  std::span<const uint8_t> outgoing() const override { return cipher_.bytes(); }
  void sent(size_t n) override;
  size_t unsent() const override { return plain_.size() + cipher_.size(); }
  bool handshakeDone() const override { return handshake_.done(); }
  const PeerIdentity& peer() const override {
    CHECK(handshake_.done());
    return handshake_.peer();
  }
  bool resumed() const override { return handshake_.resumed(); }
  uint16_t cipherSuite() const override { return handshake_.cipherSuite(); }

 private:
  void onHandshakeBytes(std::span<const uint8_t> bytes) override { cipher_.append(bytes); }
  void onHandshakeReady() override { owner_->onSessionReady(); }
  Status readPlain(PlainScratch scratch, PlainSink& sink);
  Status fail(int result);

  SessionOwner* owner_ = nullptr;
  Handshake handshake_;
  bool spent_ = false;
  bool closing_ = false;
  uint64_t recordsUnderKey_ = 0;
  size_t peakBytes_ = 0;
  Buffer plain_;   // committed, not sealed
  Buffer cipher_;  // sealed, not sent
};

Status LibrarySession::start(int64_t nowSeconds, SessionOwner* owner) {
  owner_ = owner;
  Status started = handshake_.start(nowSeconds);
  spent_ = !started.ok();
  return started;
}

void LibrarySession::abandon() {
  spent_ = spent_ || waits();
  handshake_.abandon();
}

Status LibrarySession::fail(int result) {
  Status status = handshake_.failure(result);
  spent_ = status.code() != Code::kClosed;  // else our own direction may still end properly
  return status;
}

Status LibrarySession::readPlain(PlainScratch scratch, PlainSink& sink) {
  SSL* const ssl = handshake_.ssl();
  size_t filled = 0;
  while (true) {
    CHECK(filled < scratch.size());
    ERR_clear_error();
    const int result =
        SSL_read(ssl, scratch.data() + filled,
                 static_cast<int>(std::min(scratch.size() - filled, kRecordPlainMax)));
    if (result <= 0) {
      return SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ ? Status() : fail(result);
    }
    const std::span<uint8_t> plain = scratch.subspan(filled, static_cast<size_t>(result));
    filled += plain.size();
    Status taken = sink.onPlain(plain);
    if (!taken.ok()) {
      return taken;
    }
  }
}

Status LibrarySession::receive(std::span<uint8_t> cipher, PlainScratch scratch, int64_t nowSeconds,
                               PlainSink& sink) {
  CHECK(handshake_.ssl() != nullptr);
  CHECK(scratch.size() >= cipher.size() + kRecordBytesMax);
  if (spent_) {
    return Status(Code::kInvalid, "TLS: the session has failed before");
  }
  handshake_.setNow(nowSeconds);
  if (!handshake_.done()) {
    Status shaken = handshake_.advance(cipher, nowSeconds);
    spent_ = !shaken.ok();
    if (!shaken.ok() || !handshake_.done()) {
      return shaken;
    }
    Status taken = sink.onHandshakeDone();
    if (!taken.ok()) {
      return taken;
    }
  }
  handshake_.setInput(cipher);
  Status status = readPlain(scratch, sink);
  handshake_.setInput({});
  return status;
}

std::span<uint8_t> LibrarySession::reserve(size_t min) {
  CHECK(min <= kReserveBytesMax && !closing_);
  return plain_.room(min);
}

Status LibrarySession::seal() {
  if (spent_) {
    return Status(Code::kInvalid, "TLS: the session has failed before");
  }
  if (!handshake_.done()) {
    return {};
  }
  ERR_clear_error();
  while (!plain_.empty()) {
    const size_t n = std::min(plain_.size(), kRecordPlainMax);
    if (++recordsUnderKey_ > RecordWriter::kRecordsPerKeyMax) {
      recordsUnderKey_ = 1;
      if (SSL_key_update(handshake_.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
        return fail(-1);
      }
    }
    const int result = SSL_write(handshake_.ssl(), plain_.bytes().data(), static_cast<int>(n));
    if (result <= 0) {
      return fail(result);
    }
    plain_.consume(static_cast<size_t>(result));
  }
  peakBytes_ = std::max(peakBytes_, cipher_.size());
  return {};
}

void LibrarySession::closeNotify() {
  if (!seal().ok() || !handshake_.done() || closing_) {
    return;
  }
  closing_ = true;
  SSL_shutdown(handshake_.ssl());
  ERR_clear_error();
}

void LibrarySession::sent(size_t n) {
  cipher_.consume(n);
  if (!cipher_.empty()) {
    return;
  }
  // A busy session keeps its memory; one that was busy and now only pings gives it back.
  if (peakBytes_ <= kIdleBufferBytesMax / 8 && plain_.empty() &&
      std::max(plain_.capacity(), cipher_.capacity()) > kIdleBufferBytesMax) {
    plain_.shrink();
    cipher_.shrink();
  }
  peakBytes_ = 0;
}

}  // namespace

std::unique_ptr<Session> newLibrarySession(std::shared_ptr<const Identity> own,
                                           ExpectedIdentities expected, SessionContext& context,
                                           Role role, Resumption resumption) {
  return std::make_unique<LibrarySession>(std::move(own), std::move(expected), context, role,
                                          std::move(resumption));
}

}  // namespace weft::tls
