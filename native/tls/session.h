// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "crypto/batch.h"
#include "tls/deny_list.h"
#include "tls/identity.h"
#include "tls/known_groups.h"
#include "tls/record_writer.h"
#include "tls/session_store.h"
#include "tls/ticket_keys.h"
#include "tls/verify.h"

namespace weft::tls {

/// Takes what a session decrypts.
class PlainSink {
 public:
  virtual ~PlainSink() = default;
  /// The handshake is done and the peer verified. Called once, before any onPlain().
  virtual Status onHandshakeDone() = 0;
  /// Decrypted bytes, in order. They stay valid, and in place, until the memory that receive() was
  /// given is used again, so that a sink may gather spans and write them out once. A status that
  /// is not ok ends receive() with that status; the session itself can still seal and close.
  virtual Status onPlain(std::span<uint8_t> plain) = 0;
};

/// Whom a session tells that it may go on.
class SessionOwner {
 public:
  virtual ~SessionOwner() = default;
  /// The session waits no more: its owner calls receive() with no bytes, soon. Called by the batch
  /// of the session's context.
  virtual void onSessionReady() = 0;
};

/// Memory lent to receive() by the worker: one for all its sessions, so that an idle session holds
/// none. At least as large as the ciphertext given, and kRecordBytesMax more.
using PlainScratch = std::span<uint8_t>;

/// How a session drives records once the handshake is done (which is always the TLS library's).
enum class SessionRow {
  kRecord,   ///< In place, by RecordWriter and RecordReader.
  kLibrary,  ///< By SSL_read and SSL_write, through buffers of its own.
};

/// What the sessions of one worker share. It outlives them; not thread safe.
struct SessionContext {
  SessionRow row = SessionRow::kRecord;
  VerifiedLeaves leaves;
  KnownGroups groups;
  SpareBuffers buffers;
  std::shared_ptr<const DenyList> denyList;  ///< Null denies nobody. May change at any time.
  std::shared_ptr<TicketKeys> ticketKeys;    ///< Null: servers neither issue nor take tickets.
  /// Gathers the public-key operations of handshakes. Null: each computes where it stands, and no
  /// session ever waits.
  crypto::Batch* batch = nullptr;
};

/// One end of one TLS 1.3 connection over SPIFFE identities. Sans-I/O: ciphertext and time come in
/// by argument, ciphertext goes out through outgoing(). Not thread safe: one worker owns it.
///
/// TLS 1.3 only; AES-128-GCM and AES-256-GCM; X25519 first; ALPN "h2" (a server refuses a client
/// that offers ALPN without it, and takes one that offers none); the peer's certificate is
/// mandatory. An errored session is spent: only outgoing() (the alert) may still be used.
class Session {
 public:
  virtual ~Session() = default;

  /// Starts a client's handshake, or lets a server wait for one. Call once. `owner` outlives the
  /// session, and is there wherever the context has a batch.
  virtual Status start(int64_t nowSeconds, SessionOwner* owner = nullptr) = 0;
  /// True while the handshake waits for its batch: until the owner is told, receive() is not
  /// called.
  virtual bool waits() const = 0;
  /// Ends a handshake that waits, for good: nothing more is computed for it, the owner is not told,
  /// and the session is spent as an errored one is. One that does not wait goes on.
  virtual void abandon() = 0;

  /// Takes all of `cipher` (it may be overwritten), continues the handshake, and hands the
  /// plaintext to `sink`. kClosed when the peer sent close_notify; kDenied when it was refused by
  /// verifyPeer or by the expected identities; kInvalid for anything else that TLS forbids.
  /// A session that begins to wait has taken `cipher` all the same, and goes on with it afterwards.
  virtual Status receive(std::span<uint8_t> cipher, PlainScratch scratch, int64_t nowSeconds,
                         PlainSink& sink) = 0;

  /// Room for plaintext: at least `min` (<= 4096) contiguous bytes. commit() makes the first `n` of
  /// them part of the stream; no other call may come in between. The library row copies at seal();
  /// the record row hands out the very place in the record, at most what that still takes.
  virtual std::span<uint8_t> reserve(size_t min) = 0;
  virtual void commit(size_t n) = 0;
  /// Appends a copy of `plain`: for small control frames.
  void write(std::span<const uint8_t> plain);

  /// Turns all committed plaintext into ciphertext. Before the handshake is done it waits.
  virtual Status seal() = 0;
  /// Seals and appends close_notify. No plaintext may be committed after it.
  virtual void closeNotify() = 0;

  /// Ciphertext to send, oldest first; sent() drops the first `n` bytes.
  virtual std::span<const uint8_t> outgoing() const = 0;
  virtual void sent(size_t n) = 0;
  /// Bytes committed or sealed and not yet sent: what back-pressure looks at.
  virtual size_t unsent() const = 0;

  virtual bool handshakeDone() const = 0;
  /// The verified peer; only after the handshake.
  virtual const PeerIdentity& peer() const = 0;
  virtual bool resumed() const = 0;
  virtual uint16_t cipherSuite() const = 0;  ///< IANA number, for example 0x1301.
};

/// What a client expects of its server: the peer's SPIFFE ID must be one of these.
using ExpectedIdentities = std::vector<SpiffeId>;

/// A session of the row that `context` asks for. `own` is kept alive by it. `expected` must not be
/// empty: a client without an expectation is a caller's bug.
///
/// A session is resumed only while all that a full handshake would prove still holds: both
/// certificates and the hour since that proof have not ended, the identity is the same, bundle and
/// leaf included, the peer is expected and not denied. Anything else makes a full handshake. There
/// is no early data, and each resumption makes fresh keys (psk_dhe_ke).
std::unique_ptr<Session> newClientSession(std::shared_ptr<const Identity> own,
                                          ExpectedIdentities expected, SessionContext& context,
                                          Resumption resumption = {});
std::unique_ptr<Session> newServerSession(std::shared_ptr<const Identity> own,
                                          SessionContext& context);

}  // namespace weft::tls
