// SPDX-License-Identifier: Apache-2.0
// Long, since every refusal is a case of the same handshake.
#include "tls/session_ends.h"

using weft::Code;
using weft::Status;
using weft::test::Bytes;
using weft::test::CertificateRecipe;
using weft::test::End;
using weft::test::idOf;
using weft::test::kCart;
using weft::test::kHour;
using weft::test::kNow;
using weft::test::kWeb;
using weft::test::Pair;
using weft::test::pattern;
using weft::test::RawClient;
using weft::test::RawPeer;
using weft::test::TestCa;
using weft::tls::Identity;
using weft::tls::IdentityMaterial;
using weft::tls::VerifiedLeaves;

namespace {

std::string alertOfServer(RawClient& raw) {
  return raw.peer.alertFrom(raw.server);
}

}  // namespace

EACH_ROW("two ends of one authority know each other after the handshake") {
  Pair p(Row::value);
  p.establish();
  CHECK(p.client.session->peer().id.text == kCart);
  CHECK(p.server.session->peer().id.text == kWeb);
  CHECK(p.client.session->cipherSuite() == 0x1301);
  CHECK(p.server.session->cipherSuite() == 0x1301);
  CHECK_FALSE(p.client.session->resumed());
  CHECK(p.client.session->unsent() == 0);
}

EACH_ROW("handshake and data may come byte by byte") {
  Pair p(Row::value);
  p.open();
  p.client.session->write(pattern(1000));
  REQUIRE(p.client.session->seal().ok());
  CHECK(p.client.session->unsent() > 1000);
  p.pump(1);
  CHECK(p.client.handshakes == 1);
  CHECK(p.server.handshakes == 1);
  REQUIRE(p.client.session->seal().ok());
  p.pump(1);
  CHECK(p.server.plain == pattern(1000));
  CHECK(p.client.session->unsent() == 0);
}

EACH_ROW("a large transfer arrives whole in both directions") {
  Pair p(Row::value);
  p.establish();
  const Bytes data = pattern(200'000);
  for (End* end : {&p.client, &p.server}) {
    end->session->write(data);
    CHECK(end->session->unsent() >= data.size());
    REQUIRE(end->session->seal().ok());
    // 13 records of at most 16384 bytes, 22 bytes each.
    CHECK(end->session->unsent() == data.size() + 13 * weft::tls::kRecordOverhead);
  }
  p.pump(50'000);
  CHECK(p.server.plain == data);
  CHECK(p.client.plain == data);
}

EACH_ROW("reserved room is contiguous and committed in part") {
  Pair p(Row::value);
  p.establish();
  const auto room = p.client.session->reserve(4096);
  REQUIRE(room.size() >= 4096);
  std::fill_n(room.begin(), 10, uint8_t{7});
  p.client.session->commit(10);
  p.client.session->commit(0);
  REQUIRE(p.client.session->seal().ok());
  p.pump();
  CHECK(p.server.plain == Bytes(10, 7));
}

EACH_ROW("data right behind the client's Finished is not lost") {
  Pair p(Row::value);
  p.open();
  Pair::move(p.client, p.server, SIZE_MAX);
  Pair::move(p.server, p.client, SIZE_MAX);
  REQUIRE(p.client.handshakes == 1);
  p.client.session->write(pattern(40'000));
  REQUIRE(p.client.session->seal().ok());
  p.pump();
  CHECK(p.server.status.ok());
  CHECK(p.server.plain == pattern(40'000));
}

EACH_ROW("a sink that refuses ends receive() with its status") {
  Pair p(Row::value);
  p.establish();
  p.server.answer = Status(Code::kLimit, "enough");
  p.client.session->write(pattern(10));
  REQUIRE(p.client.session->seal().ok());
  p.pump();
  CHECK(p.server.status.code() == Code::kLimit);
}

EACH_ROW("close_notify ends one direction and the other still works") {
  Pair p(Row::value);
  p.establish();
  p.client.session->write(pattern(5));
  p.client.session->closeNotify();
  p.client.session->closeNotify();
  Pair::move(p.client, p.server, SIZE_MAX);
  CHECK(p.server.plain == pattern(5));
  CHECK(p.server.status.code() == Code::kClosed);
  p.server.session->write(pattern(6));
  REQUIRE(p.server.session->seal().ok());
  p.server.session->closeNotify();
  Pair::move(p.server, p.client, SIZE_MAX);
  CHECK(p.client.plain == pattern(6));
  CHECK(p.client.status.code() == Code::kClosed);
}

EACH_ROW("close_notify before the handshake says nothing and breaks nothing") {
  Pair p(Row::value);
  p.open();
  p.server.session->closeNotify();
  CHECK(p.server.session->outgoing().empty());
  p.pump();
  CHECK(p.server.handshakes == 1);
}

EACH_ROW("a client refuses a server that it did not expect, and tells it so") {
  Pair p(Row::value);
  p.expected = {idOf(kWeb), idOf("spiffe://cluster.local/ns/shop/sa/car")};
  p.open();
  p.pump();
  CHECK(p.client.status.code() == Code::kDenied);
  CHECK(p.client.handshakes == 0);
  CHECK(p.server.handshakes == 0);
  CHECK(p.server.status.code() == Code::kInvalid);
  CHECK(p.server.status.message().find("ACCESS_DENIED") != std::string::npos);
  CHECK_FALSE(p.client.session->handshakeDone());
}

EACH_ROW("any of the expected identities will do") {
  Pair p(Row::value);
  p.expected = {idOf(kWeb), idOf(kCart)};
  p.establish();
}

EACH_ROW("a client that cannot be verified is refused with the fitting alert") {
  const TestCa stranger("stranger");
  const TestCa ca;
  CertificateRecipe expired;
  expired.notAfter = kNow - 1;
  CertificateRecipe early;
  early.notBefore = kNow + 1;
  CertificateRecipe two;
  two.names = std::string("URI:") + kWeb + ",URI:" + kCart;
  CertificateRecipe authority;
  authority.constraints = "critical,CA:TRUE";
  const struct {
    const char* name;
    IdentityMaterial material;
    const char* alert;
  } rows[] = {
      {"another authority", stranger.material(kWeb), "TLSV1_ALERT_UNKNOWN_CA"},
      {"expired", ca.material(kWeb, expired), "SSLV3_ALERT_CERTIFICATE_EXPIRED"},
      {"not yet valid", ca.material(kWeb, early), "SSLV3_ALERT_CERTIFICATE_EXPIRED"},
      {"two URI names", ca.material(kWeb, two), "SSLV3_ALERT_BAD_CERTIFICATE"},
      {"an authority itself", ca.material(kWeb, authority), "SSLV3_ALERT_BAD_CERTIFICATE"},
      {"another trust domain", ca.material("spiffe://other/ns/a/sa/b"), "TLSV1_ALERT_UNKNOWN_CA"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.name);
    RawClient raw(Row::value, ca, &row.material);
    raw.run();
    CHECK(raw.server.status.code() == Code::kDenied);
    CHECK(raw.server.handshakes == 0);
    CHECK(raw.server.context.leaves.size() == 0);
    CHECK(alertOfServer(raw) == row.alert);
  }
}

EACH_ROW("a server that cannot be verified is refused with the fitting alert") {
  Pair p(Row::value);
  const TestCa stranger("stranger");
  p.serverIdentity = stranger.identity(kCart);
  p.open();
  p.pump();
  CHECK(p.client.status.code() == Code::kDenied);
  CHECK(p.client.handshakes == 0);
  CHECK(p.server.status.code() == Code::kInvalid);
  CHECK(p.server.status.message().find("UNKNOWN_CA") != std::string::npos);
}

EACH_ROW("a client without a certificate is refused") {
  const TestCa ca;
  RawClient raw(Row::value, ca, nullptr);
  raw.run();
  CHECK(raw.server.status.code() == Code::kInvalid);
  CHECK(raw.server.handshakes == 0);
  CHECK(alertOfServer(raw) == "TLSV1_ALERT_CERTIFICATE_REQUIRED");
}

EACH_ROW("a client that offers ALPN without h2 is refused") {
  RawClient raw(Row::value);
  const uint8_t alpn[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1', 3, 'h', '2', 'c'};
  SSL_CTX_set_alpn_protos(raw.peer.context.get(), alpn, sizeof alpn);
  raw.run();
  CHECK(raw.server.status.code() == Code::kInvalid);
  CHECK(alertOfServer(raw) == "TLSV1_ALERT_NO_APPLICATION_PROTOCOL");
}

EACH_ROW("a client that offers no ALPN, or h2 among others, is taken") {
  RawClient none(Row::value);
  none.run();
  CHECK(none.server.handshakes == 1);
  RawClient some(Row::value);
  const uint8_t alpn[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1', 2, 'h', '2'};
  SSL_CTX_set_alpn_protos(some.peer.context.get(), alpn, sizeof alpn);
  some.run();
  CHECK(some.server.handshakes == 1);
}

EACH_ROW("a client of TLS 1.2 is refused") {
  RawClient raw(Row::value);
  SSL_CTX_set_max_proto_version(raw.peer.context.get(), TLS1_2_VERSION);
  raw.run();
  CHECK(raw.server.status.code() == Code::kInvalid);
  CHECK(alertOfServer(raw) == "TLSV1_ALERT_PROTOCOL_VERSION");
}

EACH_ROW("ChaCha20 is never agreed on, AES-256 is") {
  RawClient chacha(Row::value);
  REQUIRE(SSL_CTX_set_ciphersuites(chacha.peer.context.get(), "TLS_CHACHA20_POLY1305_SHA256") == 1);
  chacha.run();
  CHECK(chacha.server.status.code() == Code::kInvalid);
  RawClient aes(Row::value);
  REQUIRE(SSL_CTX_set_ciphersuites(aes.peer.context.get(), "TLS_AES_256_GCM_SHA384") == 1);
  aes.run();
  REQUIRE(aes.server.handshakes == 1);
  CHECK(aes.server.session->cipherSuite() == 0x1302);
}

EACH_ROW("P-256 is agreed on with a client without X25519, P-384 is not") {
  RawClient good(Row::value);
  REQUIRE(SSL_CTX_set1_groups_list(good.peer.context.get(), "P-256") == 1);
  good.run();
  CHECK(good.server.handshakes == 1);
  RawClient bad(Row::value);
  REQUIRE(SSL_CTX_set1_groups_list(bad.peer.context.get(), "P-384") == 1);
  bad.run();
  CHECK(bad.server.status.code() == Code::kInvalid);
}

EACH_ROW("our client sends no server name and offers only what it takes") {
  Pair p(Row::value);
  const IdentityMaterial material = p.ca.material(kCart);
  RawPeer server(&material);
  static bool named = true;
  static uint16_t suites = 0;
  SSL_CTX_set_select_certificate_cb(server.context.get(), [](const SSL_CLIENT_HELLO* hello) {
    named = SSL_get_servername(hello->ssl, TLSEXT_NAMETYPE_host_name) != nullptr;
    suites = static_cast<uint16_t>(hello->cipher_suites_len / 2);
    return ssl_select_cert_success;
  });
  End client(Row::value);
  client.session = newClientSession(p.clientIdentity, p.expected, client.context);
  REQUIRE(client.start(kNow).ok());
  server.start(true);
  server.give(client.take());
  SSL_do_handshake(server.ssl.get());
  server.pump(client);
  CHECK(client.handshakes == 1);
  CHECK_FALSE(named);
  CHECK(suites == 2);
  // Two tickets came with the handshake: they are let pass, and not kept.
  CHECK(client.status.ok());
}

EACH_ROW("garbage is refused, at once and after the handshake") {
  Pair p(Row::value);
  p.open();
  p.server.receive(pattern(500));
  CHECK(p.server.status.code() == Code::kInvalid);
  CHECK_FALSE(p.server.session->outgoing().empty());
  p.server.receive(pattern(1));
  CHECK(p.server.status.code() == Code::kInvalid);
  CHECK_FALSE(p.server.session->seal().ok());

  Pair q(Row::value);
  q.establish();
  q.client.session->write(pattern(100));
  REQUIRE(q.client.session->seal().ok());
  Bytes record = q.client.take();
  record.back() ^= 1;
  q.server.receive(record);
  CHECK(q.server.status.code() == Code::kInvalid);
  CHECK(q.server.plain.empty());
  Pair::move(q.server, q.client, SIZE_MAX);
  CHECK(q.client.status.message().find("BAD_RECORD_MAC") != std::string::npos);
}

EACH_ROW("an unauthenticated peer cannot send for ever") {
  Pair p(Row::value);
  p.open();
  // A ClientHello that announces 16 MiB, in whole records.
  Bytes record(5 + 16384);
  record[0] = 22;
  record[1] = 3;
  record[2] = 1;
  record[3] = 0x40;
  record[4] = 0;
  record[5] = 1;
  record[6] = 0xff;
  size_t given = 0;
  while (p.server.status.ok() && given < (1 << 20)) {
    p.server.receive(record);
    given += record.size();
    record[5] = 0;
  }
  CHECK(p.server.status.code() == Code::kInvalid);
  CHECK(given <= 64 << 10);
}

EACH_ROW("empty records cannot be sent for ever before the handshake") {
  Pair p(Row::value);
  p.open();
  Pair::move(p.client, p.server, SIZE_MAX);
  // A middlebox's ChangeCipherSpec is let pass in TLS 1.3, each of them.
  const Bytes ccs = {20, 3, 3, 0, 1, 1};
  size_t given = 0;
  while (p.server.status.ok() && given < (1 << 20)) {
    p.server.receive(ccs);
    given += ccs.size();
  }
  CHECK(p.server.status.code() == Code::kInvalid);
  CHECK(given <= 48 << 10);
}

EACH_ROW("a handshake in the smallest pieces is cut off at 40 KiB") {
  Pair p(Row::value);
  p.open();
  // A ClientHello of 16000 bytes, one in each record.
  const Bytes head = {1, 0, 0x3e, 0x80};
  size_t given = 0;
  for (size_t i = 0; p.server.status.ok() && i < 16004; i++) {
    p.server.receive({22, 3, 1, 0, 1, i < head.size() ? head[i] : uint8_t{0}});
    given += 6;
  }
  CHECK(p.server.status.message() == "TLS: the handshake is too long");
  CHECK(given > 40 << 10);
  CHECK(given <= (40 << 10) + 6);
  CHECK_FALSE(p.server.session->outgoing().empty());
}

EACH_ROW("a client chain over 16 KiB is refused") {
  Pair p(Row::value);
  const auto clientOf = [&](size_t more) {
    IdentityMaterial material = p.ca.material(kWeb);
    CertificateRecipe fat;
    fat.names = std::string("URI:") + kWeb;
    for (int i = 0; i < 60; i++) {
      fat.names += ",DNS:" + std::string(40, 'a') + std::to_string(i) + ".example.test";
    }
    for (size_t i = 0; i < more; i++) {
      material.chain.push_back(p.ca.issue(fat, weft::test::newKey().get()));
    }
    return Identity::create(std::move(material)).value();
  };
  p.clientIdentity = clientOf(3);
  p.establish();
  p.client.context.leaves = p.server.context.leaves = VerifiedLeaves();
  p.client.handshakes = p.server.handshakes = 0;
  p.clientIdentity = clientOf(7);
  p.open();
  p.pump();
  CHECK(p.server.status.code() == Code::kInvalid);
  CHECK(p.server.handshakes == 0);
}

EACH_ROW("a second session of the same peer finds its leaf verified") {
  Pair p(Row::value);
  p.establish();
  CHECK(p.server.context.leaves.size() == 1);
  CHECK(p.client.context.leaves.size() == 1);
  p.client.handshakes = p.server.handshakes = 0;
  p.open();
  p.pump();
  CHECK(p.server.handshakes == 1);
  CHECK(p.server.context.leaves.size() == 1);
  CHECK(p.server.session->peer().id.text == kWeb);
}

EACH_ROW("a known leaf is refused once it has ended") {
  CertificateRecipe brief;
  brief.notAfter = kNow + 10;
  Pair p(Row::value);
  p.clientIdentity = p.ca.identity(kWeb, brief);
  p.establish();
  p.open();
  const Bytes hello = p.client.take();
  p.server.receive(hello);
  Pair::move(p.server, p.client, SIZE_MAX);
  p.server.receive(p.client.take(), kNow + 11);
  CHECK(p.server.status.code() == Code::kDenied);
}

EACH_ROW("a busy session keeps no large buffer once it is idle") {
  Pair p(Row::value);
  p.establish();
  p.client.session->write(pattern(200'000));
  REQUIRE(p.client.session->seal().ok());
  p.pump(100'000);
  p.client.session->write(pattern(17));
  REQUIRE(p.client.session->seal().ok());
  p.pump();
  CHECK(p.client.session->unsent() == 0);
  CHECK(p.server.plain.size() == 200'017);
}

EACH_ROW("a peer may change its keys, ask for ours, and go on") {
  RawClient raw(Row::value);
  raw.run();
  REQUIRE(raw.server.handshakes == 1);
  for (uint8_t i = 0; i < 5; i++) {
    const int how = i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
    REQUIRE(SSL_key_update(raw.peer.ssl.get(), how) == 1);
    REQUIRE(SSL_write(raw.peer.ssl.get(), &i, 1) == 1);
    raw.server.receive(raw.peer.take());
    CHECK(raw.server.status.ok());
    raw.server.session->write(Bytes{uint8_t(100 + i)});
    REQUIRE(raw.server.session->seal().ok());
    raw.peer.give(raw.server.take());
    uint8_t got = 0;
    REQUIRE(SSL_read(raw.peer.ssl.get(), &got, 1) == 1);
    CHECK(got == 100 + i);
  }
  CHECK(raw.server.plain == Bytes{0, 1, 2, 3, 4});
}

EACH_ROW("AES-256 carries data in both directions, over changes of the keys") {
  RawClient raw(Row::value);
  REQUIRE(SSL_CTX_set_ciphersuites(raw.peer.context.get(), "TLS_AES_256_GCM_SHA384") == 1);
  raw.run();
  REQUIRE(raw.server.handshakes == 1);
  const Bytes data = pattern(50'000);
  raw.server.session->write(data);
  REQUIRE(raw.server.session->seal().ok());
  raw.peer.give(raw.server.take());
  Bytes got(data.size());
  size_t n = 0;
  while (n < got.size()) {
    const int some = SSL_read(raw.peer.ssl.get(), got.data() + n, static_cast<int>(got.size() - n));
    REQUIRE(some > 0);
    n += static_cast<size_t>(some);
  }
  CHECK(got == data);
  REQUIRE(SSL_key_update(raw.peer.ssl.get(), SSL_KEY_UPDATE_REQUESTED) == 1);
  REQUIRE(SSL_write(raw.peer.ssl.get(), data.data(), 20'000) == 20'000);
  raw.server.receive(raw.peer.take());
  CHECK(raw.server.plain == pattern(20'000));
}

EACH_ROW("a peer's fatal alert ends the session and is named") {
  RawClient raw(Row::value);
  raw.run();
  REQUIRE(SSL_send_fatal_alert(raw.peer.ssl.get(), SSL_AD_INTERNAL_ERROR) == 1);
  raw.server.receive(raw.peer.take());
  CHECK(raw.server.status.code() == Code::kInvalid);
  CHECK(raw.server.status.message() == "TLS: TLSV1_ALERT_INTERNAL_ERROR");
  CHECK_FALSE(raw.server.session->seal().ok());
}

EACH_ROW("what comes behind close_notify is not looked at") {
  Pair p(Row::value);
  p.establish();
  p.client.session->closeNotify();
  Bytes wire = p.client.take();
  wire.push_back(99);
  p.server.receive(wire);
  CHECK(p.server.status.code() == Code::kClosed);
  p.server.receive(pattern(100));
  CHECK(p.server.status.code() == Code::kClosed);
}

EACH_ROW("close_notify and sealing are all that is left after the sink refused") {
  Pair p(Row::value);
  p.establish();
  p.server.answer = Status(Code::kLimit, "enough");
  p.client.session->write(pattern(10));
  REQUIRE(p.client.session->seal().ok());
  Pair::move(p.client, p.server, SIZE_MAX);
  CHECK(p.server.status.code() == Code::kLimit);
  p.server.session->write(pattern(20));
  p.server.session->closeNotify();
  Pair::move(p.server, p.client, SIZE_MAX);
  CHECK(p.client.plain == pattern(20));
  CHECK(p.client.status.code() == Code::kClosed);
}

TEST_CASE("a session in records that has sent everything holds no send buffer") {
  Pair p(weft::test::SessionRow::kRecord);
  p.establish();
  p.client.session->write(pattern(100'000));
  REQUIRE(p.client.session->seal().ok());
  CHECK(p.client.context.buffers.size() == 0);
  p.client.take();
  CHECK(p.client.context.buffers.size() == 1);
}

TEST_CASE("a peer that asks for new keys without end is cut off in records") {
  RawClient raw(weft::test::SessionRow::kRecord);
  raw.run();
  Bytes flood;
  while (raw.server.status.ok() && flood.size() < 1000) {
    REQUIRE(SSL_key_update(raw.peer.ssl.get(), SSL_KEY_UPDATE_REQUESTED) == 1);
    REQUIRE(SSL_write(raw.peer.ssl.get(), nullptr, 0) == 0);
    raw.server.receive(raw.peer.take());
    flood.push_back(0);
  }
  CHECK(flood.size() == 33);
  CHECK(raw.server.status.code() == Code::kInvalid);
  // One answer and the alert, although 32 were asked for.
  CHECK(raw.server.session->outgoing().size() == 5 + 22 + 2 + 22);
}

EACH_ROW("a client has X25519, or its hybrid with ML-KEM, as it prefers") {
  const struct {
    const char* groups;
    uint16_t agreed;
  } rows[] = {
      {"X25519:X25519MLKEM768", SSL_GROUP_X25519},
      {"X25519MLKEM768:X25519", SSL_GROUP_X25519_MLKEM768},
      {"X25519MLKEM768", SSL_GROUP_X25519_MLKEM768},
  };
  for (const auto& row : rows) {
    CAPTURE(row.groups);
    RawClient raw(Row::value);
    REQUIRE(SSL_CTX_set1_groups_list(raw.peer.context.get(), row.groups) == 1);
    raw.run();
    REQUIRE(raw.server.handshakes == 1);
    CHECK(SSL_get_group_id(raw.peer.ssl.get()) == row.agreed);
  }
}

EACH_ROW("our client prefers X25519 and follows a server that has another group only") {
  const struct {
    const char* groups;
    uint16_t agreed;
    bool retried;  // the group is not among the key shares of the first ClientHello
  } rows[] = {
      {"X25519MLKEM768:X25519", SSL_GROUP_X25519, false},
      {"X25519MLKEM768", SSL_GROUP_X25519_MLKEM768, false},
      {"P-256", SSL_GROUP_SECP256R1, true},
  };
  for (const auto& row : rows) {
    CAPTURE(row.groups);
    Pair p(Row::value);
    const IdentityMaterial material = p.ca.material(kCart);
    RawPeer server(&material);
    REQUIRE(SSL_CTX_set1_groups_list(server.context.get(), row.groups) == 1);
    End client(Row::value);
    client.session = newClientSession(p.clientIdentity, p.expected, client.context);
    REQUIRE(client.start(kNow).ok());
    server.start(true);
    server.give(client.take());
    SSL_do_handshake(server.ssl.get());
    server.pump(client);
    CHECK(client.handshakes == 1);
    CHECK(SSL_get_group_id(server.ssl.get()) == row.agreed);
    CHECK((SSL_used_hello_retry_request(server.ssl.get()) == 1) == row.retried);
    client.session->write(pattern(100));
    REQUIRE(client.session->seal().ok());
    server.give(client.take());
    Bytes got(100);
    CHECK(SSL_read(server.ssl.get(), got.data(), 100) == 100);
    CHECK(got == pattern(100));
  }
}
