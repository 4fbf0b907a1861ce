// SPDX-License-Identifier: Apache-2.0
// A peer whose signature over the handshake is none, beside seven whose are: each end of ours
// shares a batch with all others, and only the one that it was sent to fails.
#include <openssl/ecdsa.h>

#include <functional>
#include <span>

#include "tls/batched_ends.h"

namespace weft::test {
namespace {

using Forge = std::function<Bytes(Bytes)>;

// Of a signature that leaves room for a byte more.
constexpr size_t kSignatureBytes = 70;

// What a peer may say where its signature stands, made of the right one, which has DER's two
// integers: a byte for the sequence, its length, a byte for an integer, its length, r.
struct Forgery {
  const char* what;
  Forge forge;
};

Bytes derOfNumbers(const Bytes& r, const Bytes& s) {
  Bytes der = {0x30, static_cast<uint8_t>(4 + r.size() + s.size())};
  for (const Bytes& number : {r, s}) {
    der.push_back(0x02);
    der.push_back(static_cast<uint8_t>(number.size()));
    der.insert(der.end(), number.begin(), number.end());
  }
  return der;
}

// The order of P-256's base point, behind the zero that keeps it positive.
Bytes orderOfBase() {
  const EC_GROUP* const group = EC_group_p256();
  Bytes bytes(33);
  need(BN_bn2bin_padded(bytes.data(), bytes.size(), EC_GROUP_get0_order(group)) == 1);
  return bytes;
}

// With n - s in the place of s: whoever has one has the other.
Bytes withOtherS(const Bytes& right) {
  const bssl::UniquePtr<ECDSA_SIG> parsed(ECDSA_SIG_from_bytes(right.data(), right.size()));
  bssl::UniquePtr<BIGNUM> r(BN_dup(ECDSA_SIG_get0_r(parsed.get())));
  bssl::UniquePtr<BIGNUM> s(BN_new());
  const BIGNUM* const order = EC_GROUP_get0_order(EC_group_p256());
  need(BN_sub(s.get(), order, ECDSA_SIG_get0_s(parsed.get())) == 1 &&
       ECDSA_SIG_set0(parsed.get(), r.release(), s.release()) == 1);
  uint8_t* der = nullptr;
  size_t size = 0;
  need(ECDSA_SIG_to_bytes(&der, &size, parsed.get()) == 1);
  const bssl::UniquePtr<uint8_t> owned(der);
  return {der, der + size};
}

const std::vector<Forgery>& forgeries() {
  static const std::vector<Forgery> kAll = {
      {"nothing", [](const Bytes&) { return Bytes(); }},
      {"one byte", [](const Bytes&) { return Bytes{0x30}; }},
      {"zeros all over", [](const Bytes& right) { return Bytes(right.size(), 0); }},
      {"zeros, as long as a signature can be", [](const Bytes&) { return Bytes(72, 0); }},
      {"the last byte missing",
       [](const Bytes& right) { return Bytes(right.begin(), right.end() - 1); }},
      {"the right one, and a byte after it",
       [](Bytes right) {
         right.push_back(0);
         return right;
       }},
      {"the right one, with a zero before r",
       [](Bytes right) {
         right.insert(right.begin() + 4, 0);
         right[1]++;
         right[3]++;
         return right;
       }},
      {"a third number",
       [](const Bytes&) {
         Bytes more = derOfNumbers({0x11}, {0x12, 0x02, 0x01, 0x13});
         more[6] = 1;
         return more;
       }},
      {"a sequence that is a set",
       [](Bytes right) {
         right[0] = 0x31;
         return right;
       }},
      {"r longer than all there is",
       [](Bytes right) {
         right[3] = 0x7f;
         return right;
       }},
      {"a length in two bytes, as BER has it",
       [](const Bytes&) {
         Bytes ber = derOfNumbers({0x11}, {0x12});
         ber.insert(ber.begin() + 1, 0x81);
         return ber;
       }},
      {"a length of four bytes, of all there could be",
       [](Bytes right) {
         right.insert(right.begin() + 1, {0x84, 0xff, 0xff, 0xff});
         right[5] = 0xff;
         right.resize(kSignatureBytes);
         return right;
       }},
      {"r of n", [](const Bytes&) { return derOfNumbers(orderOfBase(), {0x12}); }},
      {"s of n", [](const Bytes&) { return derOfNumbers({0x11}, orderOfBase()); }},
      {"the right r, and s of 0",
       [](const Bytes& right) {
         return derOfNumbers(Bytes(right.begin() + 4, right.begin() + 4 + right[3]), {0});
       }},
      {"r with a zero before it",
       [](const Bytes&) {
         return derOfNumbers({0, 0x11}, {0x12});
       }},
      {"r below zero", [](const Bytes&) { return derOfNumbers({0x81}, {0x12}); }},
      {"r and s of 0", [](const Bytes&) { return derOfNumbers({0}, {0}); }},
      {"r and s of 1", [](const Bytes&) { return derOfNumbers({1}, {1}); }},
      {"r of 33 bytes", [](const Bytes&) { return derOfNumbers(Bytes(33, 0x11), {0x12}); }},
      {"r and s of all ones",
       [](const Bytes&) {
         Bytes ones(33, 0xff);
         ones[0] = 0;
         return derOfNumbers(ones, ones);
       }},
      {"another bit in s",
       [](Bytes right) {
         right.back() ^= 1;
         return right;
       }},
      {"another bit in r",
       [](Bytes right) {
         right[10] ^= 0x10;
         return right;
       }},
  };
  return kAll;
}

// A peer made of the library alone, that signs as `forge` says.
struct ForgingPeer : RawPeer {
  Forge forge;
  bssl::UniquePtr<EVP_PKEY> key;

  ForgingPeer(const IdentityMaterial& material, Forge forgeIn)
      : RawPeer(&material), forge(std::move(forgeIn)) {
    CBS cbs;
    CBS_init(&cbs, material.keyPkcs8.data(), material.keyPkcs8.size());
    key.reset(EVP_parse_private_key(&cbs));
    static const SSL_PRIVATE_KEY_METHOD kMethod = {signForged, nullptr, nullptr};
    SSL_CTX_set_private_key_method(context.get(), &kMethod);
  }
  Bytes sign(std::span<const uint8_t> bytes, size_t sizeMax) const {
    bssl::ScopedEVP_MD_CTX signing;
    Bytes signature(sizeMax);
    size_t size = sizeMax;
    need(EVP_DigestSignInit(signing.get(), nullptr, EVP_sha256(), nullptr, key.get()) == 1 &&
         EVP_DigestSign(signing.get(), signature.data(), &size, bytes.data(), bytes.size()) == 1);
    signature.resize(size);
    return signature;
  }
  static ssl_private_key_result_t signForged(SSL* ssl, uint8_t* out, size_t* size, size_t sizeMax,
                                             uint16_t, const uint8_t* in, size_t inSize) {
    const auto& self = *static_cast<ForgingPeer*>(SSL_get_app_data(ssl));
    Bytes signature;
    do {
      signature = self.sign({in, inSize}, sizeMax);
    } while (signature.size() > kSignatureBytes);
    const Bytes said = self.forge(signature);
    need(said.size() <= sizeMax);
    std::copy(said.begin(), said.end(), out);
    *size = said.size();
    return ssl_private_key_success;
  }
};

// An end of ours, and such a peer.
struct Duel {
  const bool ownIsServer;
  BatchedEnd own;
  ForgingPeer peer;

  Duel(SessionRow row, bool ownIsServerIn, crypto::Batch* batch,
       const std::shared_ptr<const Identity>& identity, const IdentityMaterial& material,
       const Forge& forge)
      : ownIsServer(ownIsServerIn), own(row, batch), peer(material, forge) {
    own.session = ownIsServer ? newServerSession(identity, own.context)
                              : newClientSession(identity, {idOf(kCart)}, own.context);
    REQUIRE(own.session->start(kNow, &own).ok());
    peer.start(!ownIsServer);
    SSL_set_app_data(peer.ssl.get(), &peer);
    advancePeer();
  }
  void advancePeer() {
    SSL_do_handshake(peer.ssl.get());
    ERR_clear_error();
  }
  bool step() {
    if (own.session->waits()) {
      return false;
    }
    const Bytes said = own.take();
    if (!said.empty()) {
      peer.give(said);
      advancePeer();
    }
    const Bytes heard = peer.take();
    if (!heard.empty() && own.open()) {
      own.receive(heard);
    }
    return !said.empty() || !heard.empty();
  }
  // What the peer was told.
  std::string alert() {
    char byte = 0;
    SSL_read(peer.ssl.get(), &byte, 1);
    const uint32_t packed = ERR_peek_error();
    ERR_clear_error();
    return packed == 0 ? "" : ERR_reason_error_string(packed);
  }
};

struct Outcome {
  bool done;
  std::string status;
  std::string alert;
};

struct Field {
  TestCa ca;
  std::shared_ptr<const Identity> server = ca.identity(kCart);
  std::shared_ptr<const Identity> client = ca.identity(kWeb);
  IdentityMaterial serverMaterial = ca.material(kCart);
  IdentityMaterial clientMaterial = ca.material(kWeb);
};

constexpr size_t kDuels = 8;
constexpr size_t kForged = 5;

// Eight at once, one of which is forged: what became of each.
std::vector<Outcome> outcomesOf(const Field& field, SessionRow row, bool ownIsServer,
                                crypto::Mode mode, const Forge& forge) {
  const std::unique_ptr<crypto::Batch> batch = batchOf(mode);
  const Forge honest = [](const Bytes& right) { return right; };
  std::vector<std::unique_ptr<Duel>> duels;
  for (size_t i = 0; i < kDuels; i++) {
    duels.push_back(std::make_unique<Duel>(
        row, ownIsServer, batch.get(), ownIsServer ? field.server : field.client,
        ownIsServer ? field.clientMaterial : field.serverMaterial, i == kForged ? forge : honest));
  }
  bool moved = true;
  while (moved) {
    // One step at a time, so that what any leaves to the thread is seen.
    while (batch != nullptr && !batch->settle(1)) {
      CHECK(ERR_peek_error() == 0);
    }
    moved = false;
    for (const auto& duel : duels) {
      moved = duel->step() || moved;
      CHECK(ERR_peek_error() == 0);
    }
  }
  std::vector<Outcome> outcomes;
  for (const auto& duel : duels) {
    outcomes.push_back({duel->own.done, duel->own.status.message(), duel->alert()});
  }
  return outcomes;
}

void checkForgeries(SessionRow row, bool ownIsServer) {
  const Field field;
  for (const Forgery& forgery : forgeries()) {
    CAPTURE(forgery.what);
    const std::vector<Outcome> alone =
        outcomesOf(field, row, ownIsServer, crypto::Mode::kOff, forgery.forge);
    for (const crypto::Mode mode : allModes()) {
      CAPTURE(nameOf(mode));
      const std::vector<Outcome> outcomes =
          outcomesOf(field, row, ownIsServer, mode, forgery.forge);
      for (size_t i = 0; i < kDuels; i++) {
        CAPTURE(i);
        CHECK(outcomes[i].done == (i != kForged));
        CHECK(outcomes[i].status.empty() == (i != kForged));
        CHECK(outcomes[i].status == alone[i].status);
        CHECK(outcomes[i].alert == (i == kForged ? "TLSV1_ALERT_DECRYPT_ERROR" : ""));
      }
    }
  }
}

EACH_ROW("a server takes no forged signature, and its neighbours notice nothing") {
  checkForgeries(Row::value, true);
}

EACH_ROW("a client takes no forged signature, and its neighbours notice nothing") {
  checkForgeries(Row::value, false);
}

// The library takes either (FIPS 186-5 does not choose), and no peer may be refused by a mode
// alone.
EACH_ROW("a signature with n - s for s is as good, in each mode") {
  const Field field;
  for (const crypto::Mode mode : allModes()) {
    CAPTURE(nameOf(mode));
    for (const bool ownIsServer : {false, true}) {
      for (const Outcome& outcome : outcomesOf(field, Row::value, ownIsServer, mode, withOtherS)) {
        CHECK(outcome.done);
        CHECK(outcome.status == "");
      }
    }
  }
}

}  // namespace
}  // namespace weft::test
