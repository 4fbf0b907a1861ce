// SPDX-License-Identifier: Apache-2.0
#include "tls/session_ends.h"

using weft::Code;
using weft::test::Bytes;
using weft::test::CertificateRecipe;
using weft::test::IdentityMaterial;
using weft::test::idOf;
using weft::test::kCart;
using weft::test::kNow;
using weft::test::kWeb;
using weft::test::Pair;
using weft::test::pattern;
using weft::test::RawClient;
using weft::test::RawPeer;
using weft::test::SessionRow;
using weft::test::TestCa;
using weft::tls::DenyList;
using weft::tls::Identity;
using weft::tls::kResumptionSeconds;
using weft::tls::SessionStore;
using weft::tls::TicketKeys;

namespace {

constexpr const char* kOther = "spiffe://cluster.local/ns/shop/sa/other";

// Two ends that know each other from before.
struct Friends : Pair {
  SessionStore store;

  explicit Friends(SessionRow row) : Pair(row) {
    server.context.ticketKeys = std::make_shared<TicketKeys>();
    resumption = {&store, "to cart"};
  }
  // One connection at `now`; true when both ends say that it was resumed. It carries data.
  bool connect(int64_t now = kNow) {
    attempt(now);
    REQUIRE(client.handshakes == 1);
    REQUIRE(server.handshakes == 1);
    CHECK(client.session->peer().id == serverIdentity->id());
    CHECK(server.session->peer().id == clientIdentity->id());
    CHECK(server.session->peer().notAfterSeconds > now);
    client.session->write(pattern(1000));
    server.session->write(pattern(2000));
    REQUIRE(client.session->seal().ok());
    REQUIRE(server.session->seal().ok());
    pump();
    CHECK(server.plain == pattern(1000));
    CHECK(client.plain == pattern(2000));
    CHECK(client.session->resumed() == server.session->resumed());
    return client.session->resumed();
  }
  // A connection that is begun only: what the client offers and both ends make of it.
  void attempt(int64_t now = kNow) {
    begin(now);
    pump();
  }
  void begin(int64_t now = kNow) {
    for (auto* end : {&client, &server}) {
      end->handshakes = 0;
      end->plain.clear();
      end->status = {};
      end->now = now;
    }
    open();
  }
};

// `material` again, as a renewal with the same roots would make it.
std::shared_ptr<const Identity> renewed(const TestCa& ca, const char* id) {
  return ca.identity(id);
}

std::shared_ptr<const Identity> withRoots(const TestCa& ca, const char* id,
                                          std::vector<Bytes> roots) {
  IdentityMaterial material = ca.material(id);
  material.roots = std::move(roots);
  return Identity::create(std::move(material)).value();
}

}  // namespace

EACH_ROW("a second connection resumes the first, and a third the second") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  CHECK(f.store.size() == 1);
  const std::string serial = f.server.session->peer().serial;
  CHECK(f.connect());
  CHECK(f.server.session->peer().serial == serial);
  CHECK(f.client.session->peer().serial != serial);
  CHECK(f.connect(kNow + 60));
  CHECK(f.store.size() == 1);
}

EACH_ROW("a client that resumes sends no key share that its peer did not want before") {
  Friends f(Row::value);
  const auto hello = [&] {
    f.begin();
    const size_t size = f.client.session->outgoing().size();
    f.pump();
    return size;
  };
  const size_t full = hello();
  const size_t again = hello();
  CHECK(f.client.session->resumed());
  CHECK(full > 1184);  // an encapsulation key of ML-KEM-768 alone
  CHECK(again < 900);  // a ticket, and one share
}

EACH_ROW("a peer that took X25519 is not offered the hybrid for an hour, resumption or not") {
  Friends f(Row::value);
  f.server.context.ticketKeys = nullptr;
  const auto offersHybrid = [&](int64_t now) {
    f.begin(now);
    const size_t size = f.client.session->outgoing().size();
    f.pump();
    CHECK(f.client.handshakes == 1);
    return size > 1184;
  };
  CHECK(offersHybrid(kNow));
  CHECK_FALSE(offersHybrid(kNow + 1));
  CHECK_FALSE(offersHybrid(kNow + 3599));
  CHECK(offersHybrid(kNow + 3600));
  CHECK_FALSE(offersHybrid(kNow + 3601));
  f.resumption.key = "to another";
  CHECK(offersHybrid(kNow + 3602));
  f.resumption.key = "";
  CHECK(offersHybrid(kNow + 3603));
  CHECK(offersHybrid(kNow + 3604));
}

EACH_ROW("a peer that insists on the hybrid of a sudden has it after one failure") {
  Pair p(Row::value);
  p.resumption.key = "to cart";
  const IdentityMaterial material = p.ca.material(kCart);
  const auto agreed = [&](const char* groups) {
    RawPeer server(&material);
    REQUIRE(SSL_CTX_set1_groups_list(server.context.get(), groups) == 1);
    p.client.handshakes = 0;
    p.client.status = {};
    p.client.session =
        newClientSession(p.clientIdentity, p.expected, p.client.context, p.resumption);
    REQUIRE(p.client.start(kNow).ok());
    server.start(true);
    server.give(p.client.take());
    SSL_do_handshake(server.ssl.get());
    server.pump(p.client);
    return p.client.handshakes == 1 ? SSL_get_group_id(server.ssl.get()) : 0;
  };
  CHECK(agreed("X25519") == SSL_GROUP_X25519);
  CHECK(agreed("X25519MLKEM768") == 0);
  CHECK(agreed("X25519MLKEM768") == SSL_GROUP_X25519_MLKEM768);
  CHECK(agreed("X25519MLKEM768") == SSL_GROUP_X25519_MLKEM768);
  CHECK(agreed("X25519") == SSL_GROUP_X25519);
}

EACH_ROW("without a store, or keys for tickets, each handshake is a full one") {
  Friends f(Row::value);
  f.resumption = {};
  CHECK_FALSE(f.connect());
  CHECK_FALSE(f.connect());
  Friends g(Row::value);
  g.server.context.ticketKeys = nullptr;
  CHECK_FALSE(g.connect());
  CHECK(g.store.size() == 0);
  CHECK_FALSE(g.connect());
  // Keys that came and went in between.
  Friends h(Row::value);
  CHECK_FALSE(h.connect());
  h.server.context.ticketKeys = nullptr;
  CHECK_FALSE(h.connect());
}

EACH_ROW("a session is kept for its own way only") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  f.resumption.key = "to somewhere else";
  CHECK_FALSE(f.connect());
}

EACH_ROW("an hour after the full handshake the next one is full, resumptions in between or not") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  CHECK(f.connect(kNow + kResumptionSeconds / 2));
  // What a ticket has left the library counts by the system's clock: each of its seconds that ends
  // between a handshake and its ticket is one less.
  CHECK(f.connect(kNow + kResumptionSeconds - 5));
  CHECK_FALSE(f.connect(kNow + kResumptionSeconds));
}

EACH_ROW("a server takes no ticket an hour after the full handshake, whatever the client thinks") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  weft::tls::StoredSession stored = f.store.take("to cart").value();
  stored.expirySeconds = kNow + 10 * kResumptionSeconds;
  f.store.put("to cart", std::move(stored));
  CHECK_FALSE(f.connect(kNow + kResumptionSeconds));
}

EACH_ROW("a session ends with the first of the two certificates") {
  CertificateRecipe brief;
  brief.notAfter = kNow + 600;
  Friends client(Row::value);
  client.clientIdentity = client.ca.identity(kWeb, brief);
  CHECK_FALSE(client.connect());
  CHECK(client.connect(kNow + 599));
  client.attempt(kNow + 601);
  CHECK(client.server.status.code() == Code::kDenied);

  Friends server(Row::value);
  server.serverIdentity = server.ca.identity(kCart, brief);
  CHECK_FALSE(server.connect());
  CHECK(server.connect(kNow + 599));
  server.attempt(kNow + 601);
  CHECK(server.client.status.code() == Code::kDenied);
}

EACH_ROW("a client with a new certificate makes a full handshake") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  f.clientIdentity = renewed(f.ca, kWeb);
  CHECK_FALSE(f.connect());
  CHECK(f.connect());
}

EACH_ROW("a server with a new certificate of the same bundle still knows its clients") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  f.serverIdentity = renewed(f.ca, kCart);
  CHECK(f.connect());
}

EACH_ROW("a ticket for another workload makes a full handshake") {
  Friends f(Row::value);
  f.expected = {idOf(kCart), idOf(kOther)};
  CHECK_FALSE(f.connect());
  f.serverIdentity = f.ca.identity(kOther);
  CHECK_FALSE(f.connect());
}

EACH_ROW("a ticket from before the roots changed makes a full handshake") {
  Friends f(Row::value);
  const TestCa next("next");
  CHECK_FALSE(f.connect());
  // The server's bundle first; the client's identity is the same, so it offers its session.
  f.serverIdentity = withRoots(f.ca, kCart, {f.ca.der(), next.der()});
  CHECK(f.store.size() == 1);
  CHECK_FALSE(f.connect());
  CHECK(f.connect());
  f.clientIdentity = withRoots(f.ca, kWeb, {next.der(), f.ca.der()});
  CHECK_FALSE(f.connect());
  // The order of a bundle says nothing.
  f.serverIdentity = withRoots(f.ca, kCart, {next.der(), f.ca.der()});
  CHECK(f.connect());
}

EACH_ROW("a server that is not expected any more is not offered its session") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  f.expected = {idOf(kOther)};
  f.attempt();
  CHECK(f.client.status.code() == Code::kDenied);
  CHECK(f.store.size() == 0);
}

EACH_ROW("a peer on the deny list is refused, in a full handshake and instead of a resumption") {
  for (const bool bySerial : {false, true}) {
    for (const bool before : {false, true}) {
      Friends f(Row::value);
      if (before) {
        CHECK_FALSE(f.connect());
      }
      const auto listOf = [&](const char* id, const std::string& serial) {
        return std::make_shared<const DenyList>(
            1, bySerial ? std::vector<std::string>() : std::vector<std::string>{id},
            bySerial ? std::vector<std::string>{serial} : std::vector<std::string>());
      };
      Friends known(Row::value);
      known.clientIdentity = f.clientIdentity;
      known.serverIdentity = f.serverIdentity;
      CHECK_FALSE(known.connect());
      const std::string clientSerial = known.server.session->peer().serial;
      const std::string serverSerial = known.client.session->peer().serial;

      f.server.context.denyList = listOf(kWeb, clientSerial);
      f.attempt();
      CHECK(f.server.status.code() == Code::kDenied);
      CHECK(f.server.handshakes == 0);
      CHECK(f.client.status.message().find("ACCESS_DENIED") != std::string::npos);
      f.server.context.denyList = nullptr;
      f.client.context.denyList = listOf(kCart, serverSerial);
      f.attempt();
      CHECK(f.client.status.code() == Code::kDenied);
      CHECK(f.client.handshakes == 0);
    }
  }
}

EACH_ROW("a server that was put on the deny list after the offer is refused all the same") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  f.begin();
  f.client.context.denyList = std::make_shared<const DenyList>(1, std::vector<std::string>{kCart},
                                                               std::vector<std::string>());
  f.pump();
  CHECK(f.client.status.code() == Code::kDenied);
  CHECK(f.client.handshakes == 0);
}

EACH_ROW("a certificate that ends between the offer and the answer ends the handshake") {
  CertificateRecipe brief;
  brief.notAfter = kNow + 10;
  Friends f(Row::value);
  f.serverIdentity = f.ca.identity(kCart, brief);
  CHECK_FALSE(f.connect());
  f.begin();
  f.client.now = kNow + 11;
  f.pump();
  CHECK(f.client.status.code() == Code::kDenied);
  CHECK(f.client.handshakes == 0);
}

EACH_ROW("a ticket that was changed makes a full handshake") {
  Friends f(Row::value);
  CHECK_FALSE(f.connect());
  f.server.context.ticketKeys = std::make_shared<TicketKeys>();
  CHECK_FALSE(f.connect());
}

EACH_ROW("a ticket says nothing of the peer to who can read it") {
  Friends f(Row::value);
  f.open();
  f.pump();
  weft::tls::StoredSession stored = f.store.take("to cart").value();
  const uint8_t* ticket = nullptr;
  size_t n = 0;
  SSL_SESSION_get0_ticket(stored.session.get(), &ticket, &n);
  const std::string text(reinterpret_cast<const char*>(ticket), n);
  CHECK(text.find("spiffe") == std::string::npos);
  CHECK(n < 1000);
  CHECK(SSL_SESSION_get_timeout(stored.session.get()) <= kResumptionSeconds);
  CHECK(SSL_SESSION_early_data_capable(stored.session.get()) == 0);
}

TEST_CASE("the rows resume each other's sessions") {
  for (const auto first : {SessionRow::kRecord, SessionRow::kLibrary}) {
    Friends f(first);
    CHECK_FALSE(f.connect());
    f.client.context.row = f.server.context.row =
        first == SessionRow::kRecord ? SessionRow::kLibrary : SessionRow::kRecord;
    CHECK(f.connect());
  }
}

EACH_ROW("a foreign client resumes, and is who it was") {
  static bssl::UniquePtr<SSL_SESSION> kept;
  const TestCa ca;
  const auto keys = std::make_shared<TicketKeys>();
  const IdentityMaterial material = ca.material(kWeb);
  const std::shared_ptr<const Identity> own = ca.identity(kCart);
  for (const bool again : {false, true}) {
    RawClient raw(Row::value, ca, &material);
    raw.serverIdentity = own;
    raw.server.context.ticketKeys = keys;
    SSL_CTX_set_session_cache_mode(raw.peer.context.get(), SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(raw.peer.context.get(), [](SSL*, SSL_SESSION* session) {
      kept.reset(session);
      return 1;
    });
    raw.peer.resume = kept.get();
    raw.run();
    REQUIRE(raw.server.handshakes == 1);
    CHECK(raw.server.session->resumed() == again);
    CHECK(raw.server.session->peer().id.text == kWeb);
    char byte = 0;
    SSL_read(raw.peer.ssl.get(), &byte, 1);
    CHECK(kept != nullptr);
  }
  kept = nullptr;
}
