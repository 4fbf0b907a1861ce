// SPDX-License-Identifier: Apache-2.0
#include "tls/identity.h"

#include <doctest/doctest.h>

#include "tls/test_ca.h"

using weft::Code;
using weft::test::CertificateRecipe;
using weft::test::kHour;
using weft::test::kNow;
using weft::test::TestCa;
using weft::tls::Identity;
using weft::tls::IdentityMaterial;

namespace {
constexpr const char* kCart = "spiffe://cluster.local/ns/shop/sa/cart";

void refused(IdentityMaterial material) {
  const auto made = Identity::create(std::move(material));
  REQUIRE_FALSE(made.ok());
  CHECK(made.status().code() == Code::kInvalid);
}
}  // namespace

TEST_CASE("an identity tells its id, its end and an epoch that rises") {
  const TestCa ca;
  CertificateRecipe recipe;
  recipe.notAfter = kNow + 7 * kHour;
  const auto first = ca.identity(kCart, recipe);
  const auto second = ca.identity(kCart, recipe);
  CHECK(first->id().text == kCart);
  CHECK(first->notAfterSeconds() == kNow + 7 * kHour);
  CHECK(second->epoch() > first->epoch());
}

TEST_CASE("an identity may have intermediates and several roots") {
  const TestCa root;
  const TestCa other("other");
  const TestCa middle("middle", root);
  IdentityMaterial material = middle.material(kCart);
  material.chain.push_back(middle.der());
  material.roots = {root.der(), other.der(), root.der()};
  CHECK(Identity::create(std::move(material)).ok());
}

TEST_CASE("an identity without a chain, or with one too long, is refused") {
  const TestCa ca;
  IdentityMaterial none = ca.material(kCart);
  none.chain.clear();
  refused(std::move(none));
  IdentityMaterial most = ca.material(kCart);
  most.chain.resize(8, ca.der());
  IdentityMaterial over = most;
  over.chain.push_back(ca.der());
  CHECK(Identity::create(std::move(most)).ok());
  refused(std::move(over));
}

TEST_CASE("an identity whose chain does not parse is refused") {
  const TestCa ca;
  IdentityMaterial garbage = ca.material(kCart);
  garbage.chain.push_back({1, 2, 3});
  refused(std::move(garbage));
  IdentityMaterial trailing = ca.material(kCart);
  trailing.chain[0].push_back(0);
  refused(std::move(trailing));
}

TEST_CASE("an identity without a root, or with one that does not parse, is refused") {
  const TestCa ca;
  IdentityMaterial none = ca.material(kCart);
  none.roots.clear();
  refused(std::move(none));
  IdentityMaterial garbage = ca.material(kCart);
  garbage.roots.push_back({0x30, 0});
  refused(std::move(garbage));
  IdentityMaterial over = ca.material(kCart);
  over.roots.resize(65, ca.der());
  refused(std::move(over));
}

TEST_CASE("a key that is not the leaf's is refused") {
  const TestCa ca;
  IdentityMaterial wrong = ca.material(kCart);
  wrong.keyPkcs8 = weft::test::pkcs8Of(weft::test::newKey().get());
  refused(std::move(wrong));
  IdentityMaterial garbage = ca.material(kCart);
  garbage.keyPkcs8 = {1, 2, 3};
  refused(std::move(garbage));
  IdentityMaterial trailing = ca.material(kCart);
  trailing.keyPkcs8.push_back(0);
  refused(std::move(trailing));
}

TEST_CASE("a leaf of another SPIFFE ID is refused") {
  const TestCa ca;
  IdentityMaterial material = ca.material(kCart);
  material.spiffeId = "spiffe://cluster.local/ns/shop/sa/other";
  refused(std::move(material));
}
