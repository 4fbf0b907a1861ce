// SPDX-License-Identifier: Apache-2.0
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <string>
#include <utility>

#include "base/buffer.h"
#include "base/check.h"
#include "tls/handshake.h"
#include "tls/post_handshake.h"
#include "tls/record_reader.h"
#include "tls/record_writer.h"
#include "tls/session_rows.h"

namespace weft::tls {
namespace {

constexpr uint8_t kWarning = 1;
constexpr uint8_t kFatal = 2;
/// Warnings that mean nothing (user_canceled), in a row, that a peer may send.
constexpr size_t kWarningsMax = 4;

class RecordSession final : public Session,
                            private HandshakeOutput,
                            private RecordHandler,
                            private PostHandshakeEvents {
 public:
  RecordSession(std::shared_ptr<const Identity> own, ExpectedIdentities expected,
                SessionContext& context, Role role, Resumption resumption)
      : handshake_(std::move(own), std::move(expected), context, role, std::move(resumption),
                   *this),
        writer_(context.buffers),
        postHandshake_(role == Role::kClient, *this) {}

  Status start(int64_t nowSeconds, SessionOwner* owner) override;
  bool waits() const override { return handshake_.waits(); }
  void abandon() override;
  Status receive(std::span<uint8_t> cipher, PlainScratch scratch, int64_t nowSeconds,
                 PlainSink& sink) override;
  std::span<uint8_t> reserve(size_t min) override;
  void commit(size_t n) override;
  Status seal() override;
  void closeNotify() override;
  std::span<const uint8_t> outgoing() const override { return writer_.outgoing(); }
  void sent(size_t n) override { writer_.sent(n); }
  size_t unsent() const override { return early_.size() + writer_.unsent(); }
  bool handshakeDone() const override { return handshake_.done(); }
  const PeerIdentity& peer() const override {
    CHECK(handshake_.done());
    return handshake_.peer();
  }
  bool resumed() const override { return handshake_.resumed(); }
  uint16_t cipherSuite() const override { return handshake_.cipherSuite(); }

 private:
  void onHandshakeBytes(std::span<const uint8_t> bytes) override { writer_.append(bytes); }
  void onHandshakeReady() override { owner_->onSessionReady(); }
  Status onRecord(ContentType type, std::span<uint8_t> content) override;
  Status onBreach(uint8_t alert, const char* what) override;
  Status onKeyUpdate(bool answer) override;
  Status onTicket(std::span<const uint8_t> message) override;
  Status onAlert(std::span<const uint8_t> alert);
  Status takeOver();

  Handshake handshake_;
  RecordWriter writer_;
  RecordReader reader_;
  PostHandshake postHandshake_;
  SessionOwner* owner_ = nullptr;
  PlainSink* sink_ = nullptr;  // of the receive() that runs
  Buffer early_;               // committed before the handshake was done
  size_t warnings_ = 0;
  int64_t nowSeconds_ = 0;
  bool spent_ = false;
  bool peerClosed_ = false;
  bool closing_ = false;
};

Status RecordSession::start(int64_t nowSeconds, SessionOwner* owner) {
  owner_ = owner;
  Status started = handshake_.start(nowSeconds);
  spent_ = !started.ok();
  return started;
}

void RecordSession::abandon() {
  spent_ = spent_ || waits();
  handshake_.abandon();
}

// The handshake is done: the library's keys become ours.
Status RecordSession::takeOver() {
  SSL* const ssl = handshake_.ssl();
  bssl::Span<const uint8_t> readSecret;
  bssl::Span<const uint8_t> writeSecret;
  const uint16_t suite = handshake_.cipherSuite();
  if (!bssl::SSL_get_traffic_secrets(ssl, &readSecret, &writeSecret) || SSL_has_pending(ssl) == 1 ||
      !reader_.start(suite, {readSecret.data(), readSecret.size()}, SSL_get_read_sequence(ssl)) ||
      !writer_.start(suite, {writeSecret.data(), writeSecret.size()},
                     SSL_get_write_sequence(ssl))) {
    ERR_clear_error();
    spent_ = true;
    return Status(Code::kInternal, "TLS: the keys could not be taken over");
  }
  handshake_.mute();
  if (!handshake_.wantsTicket()) {
    handshake_.release();
  }
  write(early_.bytes());
  early_.consume(early_.size());
  early_.shrink();
  return {};
}

Status RecordSession::receive(std::span<uint8_t> cipher, PlainScratch scratch, int64_t nowSeconds,
                              PlainSink& sink) {
  if (spent_) {
    return Status(Code::kInvalid, "TLS: the session has failed before");
  }
  nowSeconds_ = nowSeconds;
  if (handshake_.done()) {
    handshake_.dropInput();
  } else {
    CHECK(handshake_.ssl() != nullptr);
    Status shaken = handshake_.advance(cipher, nowSeconds);
    spent_ = !shaken.ok();
    if (!shaken.ok() || !handshake_.done()) {
      return shaken;
    }
    if (Status taken = takeOver(); !taken.ok()) {
      return taken;
    }
    if (Status taken = sink.onHandshakeDone(); !taken.ok()) {
      return taken;
    }
  }
  if (peerClosed_) {
    return Status(Code::kClosed, "TLS: the peer closed the session");
  }
  sink_ = &sink;
  Status status = reader_.receive(cipher, scratch, *this);
  sink_ = nullptr;
  return status;
}

Status RecordSession::onRecord(ContentType type, std::span<uint8_t> content) {
  if (type == ContentType::kAlert) {
    return onAlert(content);
  }
  warnings_ = 0;
  if (type == ContentType::kHandshake) {
    return postHandshake_.receive(content);
  }
  if (postHandshake_.midMessage()) {
    return onBreach(SSL_AD_UNEXPECTED_MESSAGE, "data within a handshake message");
  }
  if (content.empty()) {
    return {};
  }
  postHandshake_.onData();
  return sink_->onPlain(content);
}

Status RecordSession::onBreach(uint8_t alert, const char* what) {
  spent_ = true;
  if (!closing_) {
    writer_.alert(kFatal, alert);
  }
  return Status(Code::kInvalid, std::string("TLS: ") + what);
}

// RFC 8446 section 6.
Status RecordSession::onAlert(std::span<const uint8_t> alert) {
  if (alert.size() != 2) {
    return onBreach(SSL_AD_DECODE_ERROR, "an alert that is not one");
  }
  if (alert[1] == SSL_AD_CLOSE_NOTIFY) {
    peerClosed_ = true;
    return Status(Code::kClosed, "TLS: the peer closed the session");
  }
  if (alert[0] == kWarning && alert[1] == SSL_AD_USER_CANCELLED) {
    return ++warnings_ <= kWarningsMax
               ? Status()
               : onBreach(SSL_AD_UNEXPECTED_MESSAGE, "warnings without end");
  }
  spent_ = true;
  const char* name =
      ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, SSL_AD_REASON_OFFSET + alert[1]));
  return Status(Code::kInvalid, std::string("TLS: ") + (name ? name : "an unknown alert"));
}

Status RecordSession::onKeyUpdate(bool answer) {
  if (!reader_.updateKeys()) {
    spent_ = true;
    return Status(Code::kInternal, "TLS: the peer's next keys could not be made");
  }
  if (answer && !closing_) {
    writer_.answerKeyUpdate();
  }
  return {};
}

Status RecordSession::onTicket(std::span<const uint8_t> message) {
  return handshake_.takeTicket(message, nowSeconds_)
             ? Status()
             : onBreach(SSL_AD_DECODE_ERROR, "a ticket that is not one");
}

std::span<uint8_t> RecordSession::reserve(size_t min) {
  CHECK(!closing_);
  return handshake_.done() ? writer_.reserve(min) : early_.room(min);
}

void RecordSession::commit(size_t n) {
  handshake_.done() ? writer_.commit(n) : early_.commit(n);
}

Status RecordSession::seal() {
  if (spent_) {
    return Status(Code::kInvalid, "TLS: the session has failed before");
  }
  if (!handshake_.done()) {
    return {};
  }
  writer_.flush();
  return writer_.ok() ? Status() : Status(Code::kInternal, "TLS: a record could not be sealed");
}

void RecordSession::closeNotify() {
  if (!seal().ok() || !handshake_.done() || closing_) {
    return;
  }
  closing_ = true;
  writer_.alert(kWarning, SSL_AD_CLOSE_NOTIFY);
}

}  // namespace

std::unique_ptr<Session> newRecordSession(std::shared_ptr<const Identity> own,
                                          ExpectedIdentities expected, SessionContext& context,
                                          Role role, Resumption resumption) {
  return std::make_unique<RecordSession>(std::move(own), std::move(expected), context, role,
                                         std::move(resumption));
}

}  // namespace weft::tls
