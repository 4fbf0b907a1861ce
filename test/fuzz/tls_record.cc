// SPDX-License-Identifier: Apache-2.0
#include <openssl/pool.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include "../native/tls/records.h"
#include "tls/session.h"

// A session in records against a peer whose keys we hold, so that what is inside its records can be
// anything: messages after the handshake, alerts, padding, key changes, floods, and broken records.
// Whatever comes, the session hands out a beginning of what the peer really said, and all that it
// sends can be opened.
namespace {

using weft::Status;
using weft::test::Bytes;
using weft::test::kNow;
using weft::test::need;
using weft::test::TestCa;
using weft::tls::ContentType;
using weft::tls::RecordKeys;
using weft::tls::Session;

constexpr const char* kOurId = "spiffe://td/ns/a/sa/ours";
constexpr const char* kPeerId = "spiffe://td/ns/a/sa/peer";

struct World {
  TestCa ca;
  std::shared_ptr<const weft::tls::Identity> own = ca.identity(kOurId);
  bssl::UniquePtr<SSL_CTX> peer{SSL_CTX_new(TLS_with_buffers_method())};
  weft::tls::SessionContext context;

  World() {
    const weft::tls::IdentityMaterial material = ca.material(kPeerId);
    const bssl::UniquePtr<CRYPTO_BUFFER> leaf(
        CRYPTO_BUFFER_new(material.chain[0].data(), material.chain[0].size(), nullptr));
    CRYPTO_BUFFER* chain[] = {leaf.get()};
    CBS cbs;
    CBS_init(&cbs, material.keyPkcs8.data(), material.keyPkcs8.size());
    const bssl::UniquePtr<EVP_PKEY> key(EVP_parse_private_key(&cbs));
    need(SSL_CTX_set_chain_and_key(peer.get(), chain, 1, key.get(), nullptr) == 1);
    SSL_CTX_set_custom_verify(peer.get(), SSL_VERIFY_PEER,
                              [](SSL*, uint8_t*) { return ssl_verify_ok; });
    SSL_CTX_set_num_tickets(peer.get(), 0);
  }
};

class Script {
 public:
  explicit Script(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  uint8_t next() {
    if (bytes_.empty()) {
      return 0;
    }
    const uint8_t byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return byte;
  }
  Bytes some() {
    const size_t n = std::min<size_t>(next(), bytes_.size());
    const Bytes taken(bytes_.begin(), bytes_.begin() + static_cast<long>(n));
    bytes_ = bytes_.subspan(n);
    return taken;
  }

 private:
  std::span<const uint8_t> bytes_;
};

struct Game final : weft::tls::PlainSink {
  World& world;
  Script script;
  std::unique_ptr<Session> session;
  bssl::UniquePtr<SSL> ssl;
  BIO* toPeer = BIO_new(BIO_s_mem());
  BIO* fromPeer = BIO_new(BIO_s_mem());
  RecordKeys seal;
  RecordKeys open;
  Bytes scratch = Bytes(64 << 10);
  Bytes wire;  // of the peer, not yet delivered
  std::string said;
  std::string heard;
  size_t wrote = 0;
  size_t opened = 0;
  bool done = false;
  bool failed = false;

  Game(World& worldIn, std::span<const uint8_t> bytes) : world(worldIn), script(bytes) {}

  Status onHandshakeDone() override {
    done = true;
    return {};
  }
  Status onPlain(std::span<uint8_t> plain) override {
    need(!plain.empty());
    heard.append(reinterpret_cast<const char*>(plain.data()), plain.size());
    return {};
  }

  void give(Bytes bytes) {
    if (!failed) {
      failed = !session->receive(bytes, scratch, kNow, *this).ok();
    }
  }

  void shake() {
    const bool client = script.next() % 2 == 0;
    session = client ? newClientSession(world.own, {weft::tls::parseSpiffeId(kPeerId).value()},
                                        world.context)
                     : newServerSession(world.own, world.context);
    ssl.reset(SSL_new(world.peer.get()));
    SSL_set_bio(ssl.get(), toPeer, fromPeer);
    client ? SSL_set_accept_state(ssl.get()) : SSL_set_connect_state(ssl.get());
    need(session->start(kNow).ok());
    for (int i = 0; i < 4; i++) {
      const auto out = session->outgoing();
      BIO_write(toPeer, out.data(), static_cast<int>(out.size()));
      session->sent(out.size());
      SSL_do_handshake(ssl.get());
      const uint8_t* data = nullptr;
      size_t n = 0;
      BIO_mem_contents(fromPeer, &data, &n);
      Bytes reply(data, data + n);
      BIO_reset(fromPeer);
      give(std::move(reply));
    }
    need(done && !failed);
    bssl::Span<const uint8_t> readSecret;
    bssl::Span<const uint8_t> writeSecret;
    need(bssl::SSL_get_traffic_secrets(ssl.get(), &readSecret, &writeSecret));
    need(seal.init(session->cipherSuite(), {writeSecret.data(), writeSecret.size()}, 0));
    need(open.init(session->cipherSuite(), {readSecret.data(), readSecret.size()}, 0));
  }

  void put(ContentType type, const Bytes& content) {
    const Bytes record = weft::test::sealed(seal, type, content);
    wire.insert(wire.end(), record.begin(), record.end());
  }

  void say(size_t n, size_t padding) {
    Bytes content(n, static_cast<uint8_t>('a' + said.size() % 26));
    said.append(n, static_cast<char>('a' + said.size() % 26));
    if (padding == 0) {
      put(ContentType::kApplicationData, content);
      return;
    }
    content.push_back(23);
    content.resize(content.size() + padding - 1);
    put(ContentType{0}, content);
  }

  /// A record of any type. With type 0 the type is the last byte of the content that is not 0 (RFC
  /// 8446 section 5.4), so that this too may be application data.
  void putOdd(uint8_t type, const Bytes& content) {
    Bytes inner = content;
    inner.push_back(type);
    while (!inner.empty() && inner.back() == 0) {
      inner.pop_back();
    }
    if (!inner.empty() && inner.back() == static_cast<uint8_t>(ContentType::kApplicationData)) {
      said.append(inner.begin(), inner.end() - 1);
    }
    put(ContentType{type}, content);
  }

  void play(uint8_t what) {
    switch (what % 10) {
      case 0:
        say(script.next() * size_t{64}, 0);
        break;
      case 1:
        say(script.next(), script.next() + size_t{1});
        break;
      case 2:
        put(ContentType::kHandshake, script.some());
        break;
      case 3:
        put(ContentType::kAlert, script.some());
        break;
      case 4:
        put(ContentType::kHandshake, {24, 0, 0, 1, static_cast<uint8_t>(script.next() % 2)});
        need(seal.update());
        break;
      case 5: {
        const Bytes raw = script.some();
        wire.insert(wire.end(), raw.begin(), raw.end());
        break;
      }
      case 6:
        putOdd(script.next(), script.some());
        break;
      case 7:
        if (!wire.empty()) {
          wire[(script.next() << 8 | script.next()) % wire.size()] ^= script.next();
        }
        break;
      case 8:
        if (!failed) {
          const Bytes ours(script.next() * size_t{100}, 'z');
          session->write(ours);
          wrote += ours.size();
          need(session->seal().ok());
        }
        break;
      default:
        deliver();
        break;
    }
  }

  void deliver() {
    const size_t grain = std::max<size_t>(script.next() * size_t{8}, 1);
    for (size_t at = 0; at < wire.size();) {
      const size_t n = grain == 1 ? wire.size() - at : std::min(grain, wire.size() - at);
      const auto begin = wire.begin() + static_cast<long>(at);
      give({begin, begin + static_cast<long>(n)});
      at += n;
    }
    wire.clear();
    need(said.starts_with(heard));
  }

  // Opens all that the session sent.
  void check() {
    if (!failed) {
      need(session->seal().ok());
    }
    Bytes out(session->outgoing().begin(), session->outgoing().end());
    session->sent(out.size());
    std::span<uint8_t> rest(out);
    while (!rest.empty()) {
      const size_t n = 5 + (static_cast<size_t>(rest[3]) << 8 | rest[4]);
      need(n <= rest.size());
      const auto record = open.open(rest.first(n));
      need(record.has_value());
      if (record->type == 22) {
        need(open.update());
      }
      opened += record->type == 23 ? record->content.size() : 0;
      rest = rest.subspan(n);
    }
    need(opened <= wrote && (failed || opened == wrote));
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World* const world = new World();
  Game game(*world, {data, size});
  game.shake();
  for (int step = 0; step < 64 && !game.script.empty(); step++) {
    game.play(game.script.next());
    game.check();
  }
  game.deliver();
  game.check();
  return 0;
}
