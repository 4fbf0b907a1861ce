// SPDX-License-Identifier: Apache-2.0
// The part of a handshake that resumes sessions, in both roles (RFC 8446 section 2.2).
#include <openssl/bytestring.h>
#include <openssl/err.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "tls/deny_list.h"
#include "tls/handshake.h"
#include "tls/ticket_keys.h"

namespace weft::tls {
namespace {

/// What we put before the library's session in a ticket, at most: times, hash, serial number, ID.
constexpr size_t kPeerBytesMax = 8 + 8 + 32 + 1 + 255 + 2 + 2048;

bool writePeer(CBB* out, const PeerIdentity& peer, int64_t expirySeconds) {
  CBB field;
  const auto add = [&](const std::string& text) {
    return CBB_add_bytes(&field, reinterpret_cast<const uint8_t*>(text.data()), text.size()) == 1;
  };
  return CBB_add_u64(out, static_cast<uint64_t>(expirySeconds)) == 1 &&
         CBB_add_u64(out, static_cast<uint64_t>(peer.notAfterSeconds)) == 1 &&
         CBB_add_bytes(out, peer.leafSha256.data(), peer.leafSha256.size()) == 1 &&
         CBB_add_u8_length_prefixed(out, &field) == 1 && add(peer.serial) &&
         CBB_add_u16_length_prefixed(out, &field) == 1 && add(peer.id.text) && CBB_flush(out) == 1;
}

std::string textOf(const CBS& cbs) {
  return {reinterpret_cast<const char*>(CBS_data(&cbs)), CBS_len(&cbs)};
}

bool readPeer(CBS* in, PeerIdentity& peer, int64_t& expirySeconds) {
  uint64_t expiry = 0;
  uint64_t notAfter = 0;
  CBS serial;
  CBS id;
  if (CBS_get_u64(in, &expiry) != 1 || CBS_get_u64(in, &notAfter) != 1 ||
      CBS_copy_bytes(in, peer.leafSha256.data(), peer.leafSha256.size()) != 1 ||
      CBS_get_u8_length_prefixed(in, &serial) != 1 || CBS_get_u16_length_prefixed(in, &id) != 1) {
    return false;
  }
  Result<SpiffeId> parsed = parseSpiffeId(textOf(id));
  if (!parsed.ok()) {
    return false;
  }
  expirySeconds = static_cast<int64_t>(expiry);
  peer.notAfterSeconds = static_cast<int64_t>(notAfter);
  peer.serial = textOf(serial);
  peer.id = std::move(parsed).value();
  return true;
}

}  // namespace

void Handshake::allowResumption(SSL_CTX* client, SSL_CTX* server) {
  static const SSL_TICKET_AEAD_METHOD kMethod = {
      [](SSL*) { return kPeerBytesMax + TicketKeys::kOverheadBytes; },
      [](SSL* ssl, uint8_t* out, size_t* outBytes, size_t max, const uint8_t* in, size_t inBytes) {
        const std::vector<uint8_t> ticket = self(ssl)->sealTicket({in, inBytes});
        if (ticket.empty() || ticket.size() > max) {
          return 0;
        }
        std::memcpy(out, ticket.data(), ticket.size());
        *outBytes = ticket.size();
        return 1;
      },
      [](SSL* ssl, uint8_t* out, size_t* outBytes, size_t max, const uint8_t* in, size_t inBytes) {
        const std::vector<uint8_t> session = self(ssl)->openTicket({in, inBytes});
        if (session.empty() || session.size() > max) {
          return ssl_ticket_aead_ignore_ticket;
        }
        std::memcpy(out, session.data(), session.size());
        *outBytes = session.size();
        return ssl_ticket_aead_success;
      }};
  SSL_CTX_set_ticket_aead_method(server, &kMethod);
  SSL_CTX_set_num_tickets(server, 1);
  SSL_CTX_set_session_psk_dhe_timeout(server, static_cast<uint32_t>(kResumptionSeconds));
  SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(client, [](SSL* ssl, SSL_SESSION* session) {
    self(ssl)->keepSession(bssl::UniquePtr<SSL_SESSION>(session));
    return 1;  // the session is ours
  });
  SSL_CTX_set_reverify_on_resume(client, 1);
}

bool Handshake::denied(const PeerIdentity& peer) const {
  return context_.denyList != nullptr && context_.denyList->denies(peer);
}

// Until when a session of this handshake may be resumed. What was proved then ends with the first
// certificate; a resumed session inherits the end of the one that it resumes.
int64_t Handshake::resumableUntil() const {
  const int64_t until = resumed_ ? ticketExpirySeconds_ : doneSeconds_ + kResumptionSeconds;
  return std::min({until, own_->notAfterSeconds(), peer_.notAfterSeconds});
}

std::vector<uint8_t> Handshake::sealTicket(std::span<const uint8_t> session) {
  if (context_.ticketKeys == nullptr) {
    return {};
  }
  // The library seals tickets at the very end of the handshake, before it says that it is done.
  const bool resumed = SSL_session_reused(ssl_.get()) == 1;
  const PeerIdentity& peer = resumed ? ticketPeer_ : peer_;
  const int64_t until = resumed ? ticketExpirySeconds_ : nowSeconds_ + kResumptionSeconds;
  bssl::ScopedCBB cbb;
  if (CBB_init(cbb.get(), kPeerBytesMax + session.size()) != 1 ||
      !writePeer(cbb.get(), peer,
                 std::min({until, own_->notAfterSeconds(), peer.notAfterSeconds})) ||
      CBB_add_bytes(cbb.get(), session.data(), session.size()) != 1 || CBB_flush(cbb.get()) != 1) {
    return {};
  }
  return context_.ticketKeys->seal({CBB_data(cbb.get()), CBB_len(cbb.get())},
                                   own_->resumptionContext(), nowSeconds_);
}

// Fails closed: what is not certain makes a full handshake.
std::vector<uint8_t> Handshake::openTicket(std::span<const uint8_t> ticket) {
  if (context_.ticketKeys == nullptr) {
    return {};
  }
  const std::optional<std::vector<uint8_t>> plain =
      context_.ticketKeys->open(ticket, own_->resumptionContext(), nowSeconds_);
  if (!plain) {
    return {};
  }
  CBS cbs;
  CBS_init(&cbs, plain->data(), plain->size());
  PeerIdentity peer;
  int64_t expiry = 0;
  if (!readPeer(&cbs, peer, expiry) || nowSeconds_ >= expiry ||
      nowSeconds_ > peer.notAfterSeconds || denied(peer)) {
    return {};
  }
  ticketPeer_ = std::move(peer);
  ticketExpirySeconds_ = expiry;
  return {CBS_data(&cbs), CBS_data(&cbs) + CBS_len(&cbs)};
}

void Handshake::offerSession() {
  if (resumption_.store == nullptr) {
    return;
  }
  while (std::optional<StoredSession> stored = resumption_.store->take(resumption_.key)) {
    const PeerIdentity& peer = stored->peer;
    const bool expected = std::find(expected_.begin(), expected_.end(), peer.id) != expected_.end();
    if (stored->identityEpoch == own_->epoch() && nowSeconds_ < stored->expirySeconds &&
        nowSeconds_ <= peer.notAfterSeconds && expected && !denied(peer)) {
      SSL_set_session(ssl_.get(), stored->session.get());
      ticketExpirySeconds_ = stored->expirySeconds;
      return;
    }
  }
}

void Handshake::keepSession(bssl::UniquePtr<SSL_SESSION> session) {
  if (resumption_.store == nullptr || SSL_SESSION_is_resumable(session.get()) != 1) {
    return;
  }
  const int64_t offered = nowSeconds_ + SSL_SESSION_get_timeout(session.get());
  const int64_t expiry = std::min(offered, resumableUntil());
  if (expiry > nowSeconds_) {
    resumption_.store->put(resumption_.key, {std::move(session), peer_, expiry, own_->epoch()});
  }
}

bool Handshake::takeTicket(std::span<const uint8_t> message, int64_t nowSeconds) {
  if (ssl_ == nullptr) {
    return true;
  }
  nowSeconds_ = nowSeconds;
  bssl::UniquePtr<SSL_SESSION> session(
      SSL_process_tls13_new_session_ticket(ssl_.get(), message.data(), message.size()));
  ERR_clear_error();
  if (session == nullptr) {
    return false;
  }
  keepSession(std::move(session));
  release();
  return true;
}

}  // namespace weft::tls
