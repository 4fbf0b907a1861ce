// SPDX-License-Identifier: Apache-2.0
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pool.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "tls/session.h"
#include "tls/svid.h"

namespace weft::tls {
namespace {

/// Handshake bytes one peer may send before it is authenticated: two full certificate lists.
constexpr size_t kHandshakeBytesMax = 40 << 10;
/// RFC 8446 section 5.5 allows 2^24.5 full records under one AES-GCM key.
constexpr uint64_t kRecordsPerKeyMax = 1ULL << 24;
/// An emptied buffer of more than this goes back to the allocator once its peak was small.
constexpr size_t kIdleBufferBytesMax = 32 << 10;
constexpr size_t kReserveBytesMax = 4096;

class LibrarySession final : public Session {
 public:
  LibrarySession(std::shared_ptr<const Identity> own, ExpectedIdentities expected,
                 VerifiedLeaves& leaves, Role role)
      : own_(std::move(own)), expected_(std::move(expected)), leaves_(leaves), role_(role) {}

  Status start(int64_t nowSeconds) override;
  Status receive(std::span<uint8_t> cipher, PlainScratch scratch, int64_t nowSeconds,
                 PlainSink& sink) override;
  std::span<uint8_t> reserve(size_t min) override;
  void commit(size_t n) override { plain_.commit(n); }
  Status seal() override;
  void closeNotify() override;
  std::span<const uint8_t> outgoing() const override { return cipher_.bytes(); }
  void sent(size_t n) override;
  size_t unsent() const override { return plain_.size() + cipher_.size(); }
  bool handshakeDone() const override { return done_; }
  const PeerIdentity& peer() const override {
    CHECK(done_);
    return peer_;
  }
  bool resumed() const override { return done_ && SSL_session_reused(ssl_.get()) == 1; }
  uint16_t cipherSuite() const override;

 private:
  Status handshake();
  Status readPlain(PlainScratch scratch, PlainSink& sink);
  Status fail(int result);
  ssl_verify_result_t verify(uint8_t* alert);
  std::optional<Refusal> refusalOfPeer();
  int read(BIO* bio, uint8_t* out, size_t max);

  static LibrarySession* self(const SSL* ssl) {
    return static_cast<LibrarySession*>(SSL_get_app_data(ssl));
  }
  static const BIO_METHOD* bioMethod();

  const std::shared_ptr<const Identity> own_;
  const ExpectedIdentities expected_;  // empty for a server
  VerifiedLeaves& leaves_;
  const Role role_;
  bssl::UniquePtr<SSL> ssl_;
  bool done_ = false;
  bool spent_ = false;
  bool closing_ = false;
  int64_t nowSeconds_ = 0;
  size_t handshakeBytes_ = 0;
  uint64_t recordsUnderKey_ = 0;
  size_t peakBytes_ = 0;
  PeerIdentity peer_;
  std::optional<Refusal> refusal_;
  std::span<const uint8_t> input_;  // what receive() was given and the library has not read
  Buffer plain_;                    // committed, not sealed
  Buffer cipher_;                   // sealed, not sent
};

const BIO_METHOD* LibrarySession::bioMethod() {
  static const BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index(), "weft session");
    CHECK(method != nullptr);
    BIO_meth_set_create(method, [](BIO* bio) {
      BIO_set_init(bio, 1);
      return 1;
    });
    BIO_meth_set_read(method, [](BIO* bio, char* out, int max) {
      return static_cast<LibrarySession*>(BIO_get_data(bio))
          ->read(bio, reinterpret_cast<uint8_t*>(out), static_cast<size_t>(max));
    });
    BIO_meth_set_write(method, [](BIO* bio, const char* bytes, int n) {
      static_cast<LibrarySession*>(BIO_get_data(bio))
          ->cipher_.append({reinterpret_cast<const uint8_t*>(bytes), static_cast<size_t>(n)});
      return n;
    });
    BIO_meth_set_ctrl(method, [](BIO*, int command, long, void*) -> long {
      return command == BIO_CTRL_FLUSH ? 1 : 0;
    });
    return method;
  }();
  return kMethod;
}

int LibrarySession::read(BIO* bio, uint8_t* out, size_t max) {
  BIO_clear_retry_flags(bio);
  const size_t n = std::min(max, input_.size());
  handshakeBytes_ += done_ ? 0 : n;
  if (n == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  std::memcpy(out, input_.data(), n);
  input_ = input_.subspan(n);
  return static_cast<int>(n);
}

Status LibrarySession::start(int64_t nowSeconds) {
  CHECK(ssl_ == nullptr);
  nowSeconds_ = nowSeconds;
  ssl_.reset(SSL_new(role_ == Role::kClient ? own_->clientContext() : own_->serverContext()));
  BIO* bio = ssl_ == nullptr ? nullptr : BIO_new(bioMethod());
  if (bio == nullptr) {
    spent_ = true;
    return Status(Code::kInternal, "TLS: out of memory");
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), this);
  SSL_set_mode(ssl_.get(), SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_set_shed_handshake_config(ssl_.get(), 1);
  SSL_set_custom_verify(ssl_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                        [](SSL* ssl, uint8_t* alert) { return self(ssl)->verify(alert); });
  if (role_ == Role::kServer) {
    SSL_set_accept_state(ssl_.get());
    return {};
  }
  SSL_set_connect_state(ssl_.get());
  return handshake();
}

std::optional<Refusal> LibrarySession::refusalOfPeer() {
  std::vector<std::span<const uint8_t>> chain;
  const STACK_OF(CRYPTO_BUFFER)* sent = SSL_get0_peer_certificates(ssl_.get());
  for (size_t i = 0; sent != nullptr && i < sk_CRYPTO_BUFFER_num(sent); i++) {
    const CRYPTO_BUFFER* one = sk_CRYPTO_BUFFER_value(sent, i);
    chain.emplace_back(CRYPTO_BUFFER_data(one), CRYPTO_BUFFER_len(one));
  }
  std::optional<Refusal> refusal = verifyPeer(chain, *own_, role_, nowSeconds_, leaves_, peer_);
  if (refusal || role_ == Role::kServer) {
    return refusal;
  }
  if (std::find(expected_.begin(), expected_.end(), peer_.id) != expected_.end()) {
    return std::nullopt;
  }
  return Refusal{Status(Code::kDenied, "peer: identity " + peer_.id.text + " was not expected"),
                 SSL_AD_ACCESS_DENIED};
}

ssl_verify_result_t LibrarySession::verify(uint8_t* alert) {
  refusal_ = refusalOfPeer();
  if (!refusal_) {
    return ssl_verify_ok;
  }
  *alert = refusal_->alert;
  return ssl_verify_invalid;
}

Status LibrarySession::fail(int result) {
  spent_ = true;
  if (refusal_) {
    ERR_clear_error();
    return refusal_->status;
  }
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_ZERO_RETURN) {
    spent_ = false;  // our own direction may still end properly
    return Status(Code::kClosed, "TLS: the peer closed the session");
  }
  const uint32_t packed = ERR_get_error();
  ERR_clear_error();
  const char* reason = packed == 0 ? nullptr : ERR_reason_error_string(packed);
  return Status(Code::kInvalid, std::string("TLS: ") + (reason ? reason : "protocol error"));
}

Status LibrarySession::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result != 1) {
    if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) {
      return fail(result);
    }
    if (handshakeBytes_ > kHandshakeBytesMax) {
      spent_ = true;
      SSL_send_fatal_alert(ssl_.get(), SSL_AD_DECODE_ERROR);
      ERR_clear_error();
      return Status(Code::kInvalid, "TLS: the handshake is too long");
    }
    return {};
  }
  done_ = true;
  return {};
}

Status LibrarySession::readPlain(PlainScratch scratch, PlainSink& sink) {
  size_t filled = 0;
  while (true) {
    CHECK(filled < scratch.size());
    ERR_clear_error();
    const int result =
        SSL_read(ssl_.get(), scratch.data() + filled,
                 static_cast<int>(std::min(scratch.size() - filled, kRecordPlainMax)));
    if (result <= 0) {
      return SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ ? Status() : fail(result);
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
  CHECK(ssl_ != nullptr);
  CHECK(scratch.size() >= cipher.size() + kRecordPlainMax);
  if (spent_) {
    return Status(Code::kInvalid, "TLS: the session has failed before");
  }
  nowSeconds_ = nowSeconds;
  input_ = cipher;
  if (!done_) {
    Status shaken = handshake();
    if (!shaken.ok() || !done_) {
      input_ = {};
      return shaken;
    }
    Status taken = sink.onHandshakeDone();
    if (!taken.ok()) {
      input_ = {};
      return taken;
    }
  }
  Status status = readPlain(scratch, sink);
  input_ = {};
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
  if (!done_) {
    return {};
  }
  ERR_clear_error();
  while (!plain_.empty()) {
    const size_t n = std::min(plain_.size(), kRecordPlainMax);
    if (++recordsUnderKey_ > kRecordsPerKeyMax) {
      recordsUnderKey_ = 1;
      if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
        return fail(-1);
      }
    }
    const int result = SSL_write(ssl_.get(), plain_.bytes().data(), static_cast<int>(n));
    if (result <= 0) {
      return fail(result);
    }
    plain_.consume(static_cast<size_t>(result));
  }
  peakBytes_ = std::max(peakBytes_, cipher_.size());
  return {};
}

void LibrarySession::closeNotify() {
  if (!seal().ok() || !done_ || closing_) {
    return;
  }
  closing_ = true;
  SSL_shutdown(ssl_.get());
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

uint16_t LibrarySession::cipherSuite() const {
  const SSL_CIPHER* cipher = done_ ? SSL_get_current_cipher(ssl_.get()) : nullptr;
  return cipher == nullptr ? uint16_t{0} : SSL_CIPHER_get_protocol_id(cipher);
}

}  // namespace

void Session::write(std::span<const uint8_t> plain) {
  while (!plain.empty()) {
    const std::span<uint8_t> room = reserve(1);
    const size_t n = std::min(room.size(), plain.size());
    std::memcpy(room.data(), plain.data(), n);
    commit(n);
    plain = plain.subspan(n);
  }
}

std::unique_ptr<Session> newClientSession(std::shared_ptr<const Identity> own,
                                          ExpectedIdentities expected, VerifiedLeaves& leaves) {
  CHECK(!expected.empty());
  return std::make_unique<LibrarySession>(std::move(own), std::move(expected), leaves,
                                          Role::kClient);
}

std::unique_ptr<Session> newServerSession(std::shared_ptr<const Identity> own,
                                          VerifiedLeaves& leaves) {
  return std::make_unique<LibrarySession>(std::move(own), ExpectedIdentities(), leaves,
                                          Role::kServer);
}

}  // namespace weft::tls
