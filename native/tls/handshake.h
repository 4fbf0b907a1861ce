// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "crypto/batch.h"
#include "tls/session.h"
#include "tls/verify.h"

namespace weft::tls {

/// Takes the bytes that a handshake wants to send.
class HandshakeOutput {
 public:
  virtual ~HandshakeOutput() = default;
  virtual void onHandshakeBytes(std::span<const uint8_t> bytes) = 0;
  /// advance() may be called again, with nothing: what it waited for is computed.
  virtual void onHandshakeReady() = 0;
};

/// One TLS 1.3 handshake of the TLS library over memory, with our own check of the peer: what the
/// rows of Session share. Not thread safe. `output` and `context` outlive it.
///
/// Where the context has a batch, the library runs on a fiber of it, and stops where it needs a
/// public-key operation: the handshake waits then, until the output is told that it may go on.
class Handshake : private crypto::FiberOwner {
 public:
  Handshake(std::shared_ptr<const Identity> own, ExpectedIdentities expected,
            SessionContext& context, Role role, Resumption resumption, HandshakeOutput& output);

  /// As by abandon().
  ~Handshake() override;

  /// Lets servers of `server` issue and take tickets, and clients of `client` keep and offer them,
  /// as SessionContext and Resumption say.
  static void allowResumption(SSL_CTX* client, SSL_CTX* server);

  /// See Session::start().
  Status start(int64_t nowSeconds);
  /// Goes on with the bytes at the front of `input`, and drops those it took. kDenied when the peer
  /// was refused, kInvalid for anything else; the alert that says so has then gone to the output.
  /// Not while it waits. One that begins to wait takes all of `input` and keeps it: after that,
  /// `input` has to be empty, and what was not taken then is in it. It stays valid until the next
  /// call.
  Status advance(std::span<uint8_t>& input, int64_t nowSeconds);
  /// True from an advance() or start() on that stopped half way, until the output is told.
  bool waits() const { return run_ != nullptr; }
  /// Ends it for good where it waits: the batch has its fiber back, and the output is told nothing
  /// any more. Else it does nothing.
  void abandon();

  bool done() const { return done_; }
  const PeerIdentity& peer() const { return peer_; }
  bool resumed() const { return resumed_; }
  uint16_t cipherSuite() const { return cipherSuite_; }

  /// The library's connection; null before start() and after release().
  SSL* ssl() const { return ssl_.get(); }
  /// What the library reads from, for SSL_read() after the handshake.
  void setNow(int64_t nowSeconds) { nowSeconds_ = nowSeconds; }
  void setInput(std::span<const uint8_t> input) { input_ = input; }
  /// The status for a library call that failed: kClosed after close_notify, else kInvalid.
  Status failure(int result);
  /// From here on the library's output is dropped: another hand holds its keys and sequence
  /// numbers, and a record that both seal under one number would give the key away.
  void mute() { muted_ = true; }
  /// True while the library is needed to make a session of a ticket that may come.
  bool wantsTicket() const { return resumption_.store != nullptr; }
  /// A client's, after mute(): keeps what a whole NewSessionTicket message makes resumable, then
  /// frees what the library holds: one ticket is enough. False when it breaks its format.
  bool takeTicket(std::span<const uint8_t> message, int64_t nowSeconds);
  /// After the handshake: nobody needs what advance() kept of the input any more.
  void dropInput() { std::vector<uint8_t>().swap(kept_); }
  /// Frees what the library holds.
  void release() { ssl_.reset(); }

 private:
  void onFiberEnd() override;
  void step();
  Status outcomeOf(int result);
  ssl_verify_result_t verify(uint8_t* alert);
  std::optional<Refusal> refusalOfPeer();
  Status finish();
  bool denied(const PeerIdentity& peer) const;
  int64_t resumableUntil() const;
  std::vector<uint8_t> sealTicket(std::span<const uint8_t> session);
  std::vector<uint8_t> openTicket(std::span<const uint8_t> ticket);
  void offerGroups();
  void learnGroups();
  void offerSession();
  void keepSession(bssl::UniquePtr<SSL_SESSION> session);
  int read(BIO* bio, uint8_t* out, size_t max);

  static Handshake* self(const SSL* ssl) { return static_cast<Handshake*>(SSL_get_app_data(ssl)); }
  static const BIO_METHOD* bioMethod();

  const std::shared_ptr<const Identity> own_;
  ExpectedIdentities expected_;  // empty for a server
  SessionContext& context_;
  const Role role_;
  const Resumption resumption_;
  HandshakeOutput& output_;
  bssl::UniquePtr<SSL> ssl_;
  std::span<const uint8_t> input_;  // what the library has not read
  std::vector<uint8_t> kept_;       // what it had not when it began to wait
  crypto::Batch::Run* run_ = nullptr;
  bool answered_ = false;  // a run has ended, and nobody has asked for its outcome
  Status outcome_;         // of the last step
  bool finished_ = false;  // the library is through
  bool done_ = false;      // and advance() has said so
  bool muted_ = false;
  bool resumed_ = false;
  bool hybridOffered_ = false;  // a client's
  uint16_t cipherSuite_ = 0;
  int64_t nowSeconds_ = 0;
  size_t handshakeBytes_ = 0;
  int64_t doneSeconds_ = 0;
  PeerIdentity peer_;
  PeerIdentity ticketPeer_;          // a server's: whom the ticket it opened speaks of
  int64_t ticketExpirySeconds_ = 0;  // of the session that is resumed
  std::optional<Refusal> refusal_;
};

}  // namespace weft::tls
