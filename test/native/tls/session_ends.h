// SPDX-License-Identifier: Apache-2.0
#pragma once

// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/session.h"
#include "base/clock.h"
#include "crypto/gathering.h"
#include "crypto/mode.h"
#include "tls/test_ca.h"

#include <doctest/doctest.h>
// clang-format on
#include <openssl/err.h>
#include <openssl/pool.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using RecordRow = std::integral_constant<weft::tls::SessionRow, weft::tls::SessionRow::kRecord>;
using LibraryRow = std::integral_constant<weft::tls::SessionRow, weft::tls::SessionRow::kLibrary>;
TYPE_TO_STRING(RecordRow);
TYPE_TO_STRING(LibraryRow);
// A test case that both rows pass; its body knows the row as Row::value.
#define EACH_ROW(title) TEST_CASE_TEMPLATE(title, Row, RecordRow, LibraryRow)

namespace weft::test {

using tls::Identity;
using tls::IdentityMaterial;
using tls::Session;
using tls::SessionContext;
using tls::SessionRow;
using tls::SpiffeId;

inline constexpr const char* kCart = "spiffe://cluster.local/ns/shop/sa/cart";
inline constexpr const char* kWeb = "spiffe://cluster.local/ns/shop/sa/web";

inline SpiffeId idOf(const char* text) {
  return tls::parseSpiffeId(text).value();
}

// One in which a single operation is worth a kernel; null in Mode::kOff.
inline std::unique_ptr<crypto::Batch> batchOf(crypto::Mode mode) {
  crypto::BreakEvens always{};
  always.lanes.fill(1);
  return mode == crypto::Mode::kOff
             ? nullptr
             : std::make_unique<crypto::Batch>(mode, always, 64, monotonicNanos, [] {});
}

// As the environment says, so that all tests run in each mode.
inline std::unique_ptr<crypto::Batch> batchOfEnvironment() {
  return batchOf(crypto::chooseMode(crypto::gatheringMode()).value());
}

// One end with what it received; checks what the sink is promised.
struct End final : tls::PlainSink, tls::SessionOwner {
  std::unique_ptr<crypto::Batch> batch = batchOfEnvironment();
  SessionContext context;
  std::unique_ptr<Session> session;
  Bytes plain;
  Bytes scratch = Bytes(300 << 10);
  std::vector<std::span<uint8_t>> spans;
  int handshakes = 0;
  int64_t now = kNow;
  Status status;
  Status answer;

  explicit End(SessionRow row) {
    context.row = row;
    context.batch = batch.get();
  }
  Status start() { return start(now); }
  Status start(int64_t at) {
    status = session->start(at, this);
    settle();
    return status;
  }
  void settle() {
    while (batch != nullptr && !batch->settle(UINT64_MAX)) {
    }
  }
  void onSessionReady() override { receive(Bytes(), now); }
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
  void receive(Bytes cipher) { receive(std::move(cipher), now); }
  void receive(Bytes cipher, int64_t at) {
    now = at;
    spans.clear();
    const size_t before = plain.size();
    status = session->receive(cipher, scratch, at, *this);
    if (session->waits()) {
      settle();
      return;
    }
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
  tls::Resumption resumption;

  explicit Pair(SessionRow row) : client(row), server(row) {}
  void open() {
    client.session = newClientSession(clientIdentity, expected, client.context, resumption);
    server.session = newServerSession(serverIdentity, server.context);
    REQUIRE(server.start().ok());
    REQUIRE(client.start().ok());
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

inline Bytes pattern(size_t n) {
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
  SSL_SESSION* resume = nullptr;

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
    if (resume != nullptr) {
      SSL_set_session(ssl.get(), resume);
    }
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
    REQUIRE(server.start(kNow).ok());
    peer.start(false);
    peer.pump(server);
  }
};

}  // namespace weft::test
