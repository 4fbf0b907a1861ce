// SPDX-License-Identifier: Apache-2.0
#include "tls/verify.h"

#include <doctest/doctest.h>

#include <functional>

#include "tls/test_ca.h"

using weft::Code;
using weft::test::Bytes;
using weft::test::CertificateRecipe;
using weft::test::kHour;
using weft::test::kNow;
using weft::test::TestCa;
using weft::tls::Identity;
using weft::tls::IdentityMaterial;
using weft::tls::PeerIdentity;
using weft::tls::Refusal;
using weft::tls::Role;
using weft::tls::VerifiedLeaves;

namespace {
constexpr const char* kCart = "spiffe://cluster.local/ns/shop/sa/cart";
constexpr const char* kWeb = "spiffe://cluster.local/ns/shop/sa/web";
constexpr uint8_t kBadCertificate = 42;
constexpr uint8_t kUnsupportedCertificate = 43;
constexpr uint8_t kCertificateExpired = 45;
constexpr uint8_t kUnknownCa = 48;

struct Verifier {
  TestCa ca;
  std::shared_ptr<const Identity> own = ca.identity(kCart);
  VerifiedLeaves cache;
  PeerIdentity peer;

  std::optional<Refusal> check(const std::vector<Bytes>& chain, Role role = Role::kServer,
                               int64_t now = kNow) {
    std::vector<std::span<const uint8_t>> spans(chain.begin(), chain.end());
    return weft::tls::verifyPeer(spans, *own, role, now, cache, peer);
  }
  std::optional<Refusal> checkLeaf(const std::function<void(CertificateRecipe&)>& change,
                                   Role role = Role::kServer) {
    CertificateRecipe recipe;
    recipe.names = std::string("URI:") + kWeb;
    change(recipe);
    return check({ca.issue(recipe, weft::test::newKey().get())}, role);
  }
  void refuses(uint8_t alert, const std::function<void(CertificateRecipe&)>& change,
               Role role = Role::kServer) {
    const auto refusal = checkLeaf(change, role);
    REQUIRE(refusal);
    CAPTURE(refusal->status.message());
    CHECK(refusal->status.code() == Code::kDenied);
    CHECK(refusal->alert == alert);
    CHECK(cache.size() == 0);
  }
};
std::string hexOf(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text += kDigits[static_cast<unsigned char>(byte) >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace

TEST_CASE("a good leaf is accepted and named in both roles") {
  Verifier v;
  for (const Role role : {Role::kServer, Role::kClient}) {
    CHECK_FALSE(v.checkLeaf([](CertificateRecipe&) {}, role));
    CHECK(v.peer.id.text == kWeb);
    CHECK(v.peer.notAfterSeconds == kNow + 24 * kHour);
  }
}

TEST_CASE("a leaf may have DNS names and no extended key usage") {
  Verifier v;
  CHECK_FALSE(v.checkLeaf([](CertificateRecipe& r) { r.names += ",DNS:web.shop.svc"; }));
  CHECK_FALSE(v.checkLeaf([](CertificateRecipe& r) { r.extendedUsage.clear(); }));
}

TEST_CASE("a chain with an intermediate is accepted, and ends with its earliest certificate") {
  Verifier v;
  const TestCa middle("middle", v.ca, kNow + 2 * kHour);
  CertificateRecipe recipe;
  recipe.names = std::string("URI:") + kWeb;
  const Bytes leaf = middle.issue(recipe, weft::test::newKey().get());
  CHECK_FALSE(v.check({leaf, middle.der()}));
  CHECK(v.peer.notAfterSeconds == kNow + 2 * kHour);
  v.cache = VerifiedLeaves();
  CHECK(v.check({leaf})->alert == kUnknownCa);
}

TEST_CASE("a leaf of another authority is refused as of an unknown CA") {
  Verifier v;
  const TestCa stranger;  // of the same name
  CertificateRecipe recipe;
  recipe.names = std::string("URI:") + kWeb;
  const Bytes leaf = stranger.issue(recipe, weft::test::newKey().get());
  const auto alone = v.check({leaf});
  REQUIRE(alone);
  CHECK(alone->status.code() == Code::kDenied);
  const auto withRoot = v.check({leaf, stranger.der()});
  REQUIRE(withRoot);
  CHECK(v.cache.size() == 0);

  const TestCa named("stranger");
  CHECK(v.check({named.issue(recipe, weft::test::newKey().get())})->alert == kUnknownCa);
}

TEST_CASE("a leaf is accepted within its validity only, to the second") {
  Verifier v;
  CertificateRecipe recipe;
  recipe.names = std::string("URI:") + kWeb;
  recipe.notBefore = kNow;
  recipe.notAfter = kNow + 10;
  const Bytes leaf = v.ca.issue(recipe, weft::test::newKey().get());
  CHECK(v.check({leaf}, Role::kServer, kNow - 1)->alert == kCertificateExpired);
  CHECK(v.check({leaf}, Role::kServer, kNow + 11)->alert == kCertificateExpired);
  CHECK_FALSE(v.check({leaf}, Role::kServer, kNow));
  CHECK_FALSE(v.check({leaf}, Role::kServer, kNow + 10));
}

TEST_CASE("names that are BER, but not DER, are refused") {
  Verifier v;
  // SEQUENCE { [6] "spiffe://cluster.local/a" }, in hexadecimal.
  const std::string name = "8618" + hexOf("spiffe://cluster.local/a");
  Verifier good;
  CHECK_FALSE(good.checkLeaf([&](CertificateRecipe& r) { r.names = "DER:301a" + name; }));
  for (const std::string& ber : {
           "30811a" + name,              // a length in more bytes than it needs
           "3080" + name + "0000",       // a length that is told by an end
           "301b8681" + name.substr(2),  // the same of the name itself
           "101a" + name,                // a sequence without the mark of a constructed value
           "301a" + name + "0500",       // something behind it
       }) {
    CAPTURE(ber);
    v.refuses(kBadCertificate, [&](CertificateRecipe& r) { r.names = "DER:" + ber; });
  }
}

TEST_CASE("a leaf that is no X.509-SVID is refused") {
  Verifier v;
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.names.clear(); });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.names = "DNS:web.shop.svc"; });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.names += std::string(",URI:") + kCart; });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.names += ",URI:https://example.com/"; });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.names = "URI:https://cluster.local/a"; });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.names = "URI:spiffe://cluster.local"; });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.constraints = "critical,CA:TRUE"; });
  v.refuses(kBadCertificate,
            [](CertificateRecipe& r) { r.usage = "critical,digitalSignature,keyCertSign"; });
  v.refuses(kBadCertificate,
            [](CertificateRecipe& r) { r.usage = "critical,digitalSignature,cRLSign"; });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.usage = "critical,keyAgreement"; });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.usage = "digitalSignature"; });
  v.refuses(kBadCertificate, [](CertificateRecipe& r) { r.usage.clear(); });
}

TEST_CASE("a leaf of a foreign trust domain is refused") {
  Verifier v;
  v.refuses(kUnknownCa, [](CertificateRecipe& r) { r.names = "URI:spiffe://other/ns/a/sa/b"; });
}

TEST_CASE("the extended key usage has to fit the peer's role") {
  Verifier v;
  const auto serverOnly = [](CertificateRecipe& r) { r.extendedUsage = "serverAuth"; };
  const auto clientOnly = [](CertificateRecipe& r) { r.extendedUsage = "clientAuth"; };
  v.refuses(kUnsupportedCertificate, serverOnly, Role::kServer);
  v.refuses(kUnsupportedCertificate, clientOnly, Role::kClient);
  CHECK_FALSE(v.checkLeaf(clientOnly, Role::kServer));
  CHECK_FALSE(v.checkLeaf(serverOnly, Role::kClient));
}

TEST_CASE("a chain that is empty, too long or garbage is refused") {
  Verifier v;
  CertificateRecipe recipe;
  recipe.names = std::string("URI:") + kWeb;
  const Bytes leaf = v.ca.issue(recipe, weft::test::newKey().get());
  CHECK(v.check({})->alert == kBadCertificate);
  CHECK(v.check({Bytes{1, 2, 3}})->alert == kBadCertificate);
  CHECK(v.check({leaf, Bytes{1, 2, 3}})->alert == kBadCertificate);
  Bytes trailing = leaf;
  trailing.push_back(0);
  CHECK(v.check({trailing})->alert == kBadCertificate);
  std::vector<Bytes> longest(8, v.ca.der());
  longest[0] = leaf;
  std::vector<Bytes> tooLong = longest;
  tooLong.push_back(v.ca.der());
  CHECK(v.check(tooLong)->alert == kBadCertificate);
  CHECK_FALSE(v.check(longest));
}

TEST_CASE("a verified leaf is known again, for the same identity and role, until it ends") {
  Verifier v;
  CertificateRecipe recipe;
  recipe.names = std::string("URI:") + kWeb;
  recipe.notAfter = kNow + 10;
  const Bytes leaf = v.ca.issue(recipe, weft::test::newKey().get());
  REQUIRE_FALSE(v.check({leaf}));
  const auto hash = v.peer.leafSha256;
  REQUIRE(v.cache.find(hash, *v.own, Role::kServer, kNow) != nullptr);
  CHECK(v.cache.find(hash, *v.own, Role::kServer, kNow)->id.text == kWeb);
  CHECK(v.cache.find(hash, *v.own, Role::kServer, kNow + 10) != nullptr);
  CHECK(v.cache.find(hash, *v.own, Role::kServer, kNow + 11) == nullptr);
  CHECK(v.cache.find(hash, *v.own, Role::kClient, kNow) == nullptr);
  CHECK(v.cache.find(hash, *v.ca.identity(kCart), Role::kServer, kNow) == nullptr);

  // Garbage behind a known leaf is not even read: the path was proven before.
  CHECK_FALSE(v.check({leaf, Bytes{1, 2, 3}}));
  CHECK(v.check({leaf, Bytes{1, 2, 3}}, Role::kServer, kNow + 11));
  CHECK(v.cache.size() == 1);
}

TEST_CASE("the memory of verified leaves is bounded, and the oldest make way") {
  const TestCa ca;
  const auto own = ca.identity(kCart);
  VerifiedLeaves cache(3);
  const auto leaf = [](uint8_t n) {
    PeerIdentity peer{weft::tls::parseSpiffeId(kWeb).value(), kNow + 1, {}, "1"};
    peer.leafSha256[0] = n;
    return peer;
  };
  for (uint8_t n = 1; n <= 8; n++) {
    cache.remember(leaf(n), *own, Role::kServer);
    cache.remember(leaf(n), *own, Role::kServer);
    CHECK(cache.size() == std::min<size_t>(n, 3));
  }
  for (uint8_t n = 1; n <= 8; n++) {
    CHECK((cache.find(leaf(n).leafSha256, *own, Role::kServer, kNow) != nullptr) == (n > 5));
  }
  VerifiedLeaves none(0);
  none.remember(leaf(1), *own, Role::kServer);
  CHECK(none.size() == 0);
}
