// SPDX-License-Identifier: Apache-2.0
// The record row against the library row: one script, played by the same peer to each of them, must
// have one outcome.
#include <random>

#include "tls/session_ends.h"

using weft::Code;
using weft::test::Bytes;
using weft::test::End;
using weft::test::IdentityMaterial;
using weft::test::idOf;
using weft::test::kCart;
using weft::test::kNow;
using weft::test::kWeb;
using weft::test::RawPeer;
using weft::test::SessionRow;
using weft::test::TestCa;

namespace {

struct Outcome {
  Code code = Code::kOk;
  std::string message;
  Bytes received;
  Bytes peerReceived;
  std::string peerError;
  bool operator==(const Outcome&) const = default;
};

struct Authority {
  TestCa ca;
  IdentityMaterial peerMaterial = ca.material(kCart);
  std::shared_ptr<const weft::tls::Identity> own = ca.identity(kWeb);
};

// Our client against a server of the library alone; every choice comes from `seed`.
class Play {
 public:
  Play(const Authority& authority, SessionRow row, uint32_t seed)
      : random_(seed), end_(row), peer_(&authority.peerMaterial) {
    if (one(2) == 0) {
      REQUIRE(SSL_CTX_set_ciphersuites(peer_.context.get(), "TLS_AES_256_GCM_SHA384") == 1);
    }
    end_.session = newClientSession(authority.own, {idOf(kCart)}, end_.context);
    REQUIRE(end_.start(kNow).ok());
    peer_.start(true);
    for (int i = 0; i < 3; i++) {
      peer_.give(end_.take());
      SSL_do_handshake(peer_.ssl.get());
      toEnd(peer_.take());
    }
    REQUIRE(end_.handshakes == 1);
  }

  Outcome run() {
    for (int step = 0; step < 30 && end_.status.ok() && !peerClosed_; step++) {
      act();
    }
    toPeer();
    const Code code = end_.status.code();
    // Sealing answers the same, too, whatever came before.
    const bool seals = end_.session->seal().ok();
    CHECK(seals == (code == Code::kOk || code == Code::kClosed));
    return {code, end_.status.message(), end_.plain, peerReceived_, peerError_};
  }

 private:
  uint32_t one(uint32_t below) { return static_cast<uint32_t>(random_()) % below; }
  size_t size() {
    const uint32_t shift = one(16);
    return one(1U << shift) + 1;
  }
  Bytes bytes(size_t n) {
    Bytes made(n);
    for (uint8_t& byte : made) {
      byte = static_cast<uint8_t>(random_());
    }
    return made;
  }

  void act() {
    const uint32_t what = one(40);
    if (what < 14) {
      const Bytes said = bytes(size());
      REQUIRE(SSL_write(peer_.ssl.get(), said.data(), static_cast<int>(said.size())) > 0);
    } else if (what < 18) {
      SSL_key_update(peer_.ssl.get(),
                     one(2) == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
      const Bytes said = bytes(1);
      REQUIRE(SSL_write(peer_.ssl.get(), said.data(), 1) == 1);
    } else if (what < 30) {
      end_.session->write(bytes(size()));
      REQUIRE(end_.session->seal().ok());
      toPeer();
    } else if (what < 36) {
      toEnd(peer_.take());
    } else if (what == 36) {
      Bytes wire = peer_.take();
      // Not the length: a record that never ends is no outcome.
      if (wire.size() > 10) {
        wire[5 + one(4)] ^= 1;
      }
      toEnd(wire);
    } else if (what == 37) {
      SSL_shutdown(peer_.ssl.get());
      toEnd(peer_.take());
      peerClosed_ = true;
    } else if (what == 38 && one(3) == 0) {
      SSL_send_fatal_alert(peer_.ssl.get(), SSL_AD_USER_CANCELLED + one(2) * 10);
      toEnd(peer_.take());
      peerClosed_ = true;
    }
  }

  void toEnd(const Bytes& wire) {
    const size_t grain = size();
    for (size_t at = 0; at < wire.size() && end_.status.ok(); at += grain) {
      const auto begin = wire.begin() + static_cast<long>(at);
      end_.receive(Bytes(begin, begin + static_cast<long>(std::min(grain, wire.size() - at))));
    }
  }

  void toPeer() {
    peer_.give(end_.take());
    Bytes room(20'000);
    ERR_clear_error();
    int n = 0;
    while ((n = SSL_read(peer_.ssl.get(), room.data(), static_cast<int>(room.size()))) > 0) {
      peerReceived_.insert(peerReceived_.end(), room.begin(), room.begin() + n);
    }
    if (SSL_get_error(peer_.ssl.get(), n) == SSL_ERROR_SSL && peerError_.empty()) {
      const char* reason = ERR_reason_error_string(ERR_peek_error());
      peerError_ = reason == nullptr ? "?" : reason;
    }
    ERR_clear_error();
  }

  std::minstd_rand random_;
  End end_;
  RawPeer peer_;
  Bytes peerReceived_;
  std::string peerError_;
  bool peerClosed_ = false;
};

}  // namespace

TEST_CASE("the record row does what the library row does, for 300 random scripts") {
  const Authority authority;
  size_t refused = 0;
  size_t closed = 0;
  for (uint32_t seed = 1; seed <= 300; seed++) {
    CAPTURE(seed);
    const Outcome library = Play(authority, SessionRow::kLibrary, seed).run();
    const Outcome record = Play(authority, SessionRow::kRecord, seed).run();
    CHECK(record.code == library.code);
    CHECK(record.message == library.message);
    CHECK(record.peerError == library.peerError);
    CHECK(record.received == library.received);
    CHECK(record.peerReceived == library.peerReceived);
    refused += library.code == Code::kInvalid ? 1 : 0;
    closed += library.code == Code::kClosed ? 1 : 0;
  }
  // The scripts do reach what they are for.
  CHECK(refused > 20);
  CHECK(closed > 20);
}
