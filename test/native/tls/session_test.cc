// SPDX-License-Identifier: Apache-2.0
// Long, since every refusal is a case of the same handshake.
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/session.h"
#include "tls/test_ca.h"

#include <doctest/doctest.h>
// clang-format on
#include <openssl/err.h>
#include <openssl/pool.h>
#include <openssl/ssl.h>

#include <algorithm>

using weft::Code;
using weft::Status;
using weft::test::Bytes;
using weft::test::CertificateRecipe;
using weft::test::kHour;
using weft::test::kNow;
using weft::test::TestCa;
using weft::tls::Identity;
using weft::tls::IdentityMaterial;
using weft::tls::Session;
using weft::tls::SessionContext;
using weft::tls::SessionRow;
using weft::tls::SpiffeId;
using weft::tls::VerifiedLeaves;

using RecordRow = std::integral_constant<SessionRow, SessionRow::kRecord>;
using LibraryRow = std::integral_constant<SessionRow, SessionRow::kLibrary>;
TYPE_TO_STRING(RecordRow);
TYPE_TO_STRING(LibraryRow);
// A test case that both rows pass; its body knows the row as Row::value.
#define EACH_ROW(title) TEST_CASE_TEMPLATE(title, Row, RecordRow, LibraryRow)

namespace {

constexpr const char* kCart = "spiffe://cluster.local/ns/shop/sa/cart";
constexpr const char* kWeb = "spiffe://cluster.local/ns/shop/sa/web";

SpiffeId idOf(const char* text) {
  return weft::tls::parseSpiffeId(text).value();
}

// One end with what it received; checks what the sink is promised.
struct End final : weft::tls::PlainSink {
  SessionContext context;
  std::unique_ptr<Session> session;
  Bytes plain;
  Bytes scratch = Bytes(300 << 10);
  std::vector<std::span<uint8_t>> spans;
  int handshakes = 0;
  Status status;
  Status answer;

  explicit End(SessionRow row) { context.row = row; }
  Status onHandshakeDone() override {
    handshakes++;
    CHECK(session->handshakeDone());
    CHECK(plain.empty());
    return answer;
  }
  Status onPlain(std::span<uint8_t> bytes) override {
    CHECK(handshakes == 1);
    plain.insert(plain.end(), bytes.begin(), bytes.end());
    spans.push_back(bytes);
    return answer;
  }
  void receive(Bytes cipher, int64_t now = kNow) {
    spans.clear();
    const size_t before = plain.size();
    status = session->receive(cipher, scratch, now, *this);
    // What was handed out is still in place.
    Bytes again;
    for (const auto& span : spans) {
      again.insert(again.end(), span.begin(), span.end());
    }
    CHECK(std::equal(again.begin(), again.end(), plain.begin() + static_cast<long>(before),
                     plain.end()));
  }
  Bytes take() {
    const auto out = session->outgoing();
    Bytes bytes(out.begin(), out.end());
    session->sent(bytes.size());
    return bytes;
  }
};

struct Pair {
  TestCa ca;
  std::shared_ptr<const Identity> clientIdentity = ca.identity(kWeb);
  std::shared_ptr<const Identity> serverIdentity = ca.identity(kCart);
  std::vector<SpiffeId> expected = {idOf(kCart)};
  End client;
  End server;

  explicit Pair(SessionRow row) : client(row), server(row) {}
  void open() {
    client.session = newClientSession(clientIdentity, expected, client.context);
    server.session = newServerSession(serverIdentity, server.context);
    REQUIRE(server.session->start(kNow).ok());
    REQUIRE(client.session->start(kNow).ok());
  }
  // Until neither has anything to say, `grain` bytes at a time.
  void pump(size_t grain = SIZE_MAX) {
    for (bool moved = true; moved;) {
      moved = move(client, server, grain);
      moved = move(server, client, grain) || moved;
    }
  }
  static bool move(End& from, End& to, size_t grain) {
    const Bytes all = from.take();
    for (size_t at = 0; at < all.size() && to.status.ok(); at += std::min(grain, all.size() - at)) {
      const auto begin = all.begin() + static_cast<long>(at);
      to.receive(Bytes(begin, begin + static_cast<long>(std::min(grain, all.size() - at))));
    }
    return !all.empty();
  }
  void establish() {
    open();
    pump();
    REQUIRE(client.handshakes == 1);
    REQUIRE(server.handshakes == 1);
  }
};

Bytes pattern(size_t n) {
  Bytes bytes(n);
  for (size_t i = 0; i < n; i++) {
    bytes[i] = static_cast<uint8_t>(i * 31 + i / 256);
  }
  return bytes;
}

// A peer made of the TLS library alone, to do what our own ends never do.
struct RawPeer {
  bssl::UniquePtr<SSL_CTX> context{SSL_CTX_new(TLS_with_buffers_method())};
  bssl::UniquePtr<SSL> ssl;
  BIO* in = BIO_new(BIO_s_mem());
  BIO* out = BIO_new(BIO_s_mem());

  explicit RawPeer(const IdentityMaterial* material = nullptr) {
    SSL_CTX_set_custom_verify(context.get(), SSL_VERIFY_PEER,
                              [](SSL*, uint8_t*) { return ssl_verify_ok; });
    if (material != nullptr) {
      const bssl::UniquePtr<CRYPTO_BUFFER> leaf(
          CRYPTO_BUFFER_new(material->chain[0].data(), material->chain[0].size(), nullptr));
      CRYPTO_BUFFER* chain[] = {leaf.get()};
      CBS cbs;
      CBS_init(&cbs, material->keyPkcs8.data(), material->keyPkcs8.size());
      const bssl::UniquePtr<EVP_PKEY> key(EVP_parse_private_key(&cbs));
      REQUIRE(SSL_CTX_set_chain_and_key(context.get(), chain, 1, key.get(), nullptr) == 1);
    }
  }
  void start(bool server) {
    ssl.reset(SSL_new(context.get()));
    SSL_set_bio(ssl.get(), in, out);
    server ? SSL_set_accept_state(ssl.get()) : SSL_set_connect_state(ssl.get());
    SSL_do_handshake(ssl.get());
  }
  Bytes take() {
    const uint8_t* data = nullptr;
    size_t n = 0;
    BIO_mem_contents(out, &data, &n);
    Bytes bytes(data, data + n);
    BIO_reset(out);
    return bytes;
  }
  // The alert that `end` sent, as the library names it.
  std::string alertFrom(End& end) {
    give(end.take());
    char byte = 0;
    ERR_clear_error();
    SSL_read(ssl.get(), &byte, 1);
    const char* reason = ERR_reason_error_string(ERR_peek_error());
    return reason == nullptr ? "" : reason;
  }
  void give(const Bytes& bytes) { BIO_write(in, bytes.data(), static_cast<int>(bytes.size())); }
  void pump(End& end) {
    for (int i = 0; i < 4; i++) {
      const Bytes said = take();
      if (!said.empty() && end.status.ok()) {
        end.receive(said);
      }
      if (!end.status.ok()) {
        return;
      }
      give(end.take());
      SSL_do_handshake(ssl.get());
    }
  }
};

struct RawClient {
  std::shared_ptr<const Identity> serverIdentity;
  RawPeer peer;
  End server;

  RawClient(SessionRow row, const TestCa& ca, const IdentityMaterial* material)
      : serverIdentity(ca.identity(kCart)), peer(material), server(row) {}
  explicit RawClient(SessionRow row, const TestCa& ca = TestCa())
      : RawClient(row, ca, std::make_unique<IdentityMaterial>(ca.material(kWeb)).get()) {}
  void run() {
    server.session = newServerSession(serverIdentity, server.context);
    REQUIRE(server.session->start(kNow).ok());
    peer.start(false);
    peer.pump(server);
  }
};

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
  REQUIRE(client.session->start(kNow).ok());
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
