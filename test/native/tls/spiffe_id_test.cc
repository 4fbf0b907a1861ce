// SPDX-License-Identifier: Apache-2.0
#include "tls/spiffe_id.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using weft::Code;
using weft::tls::parseSpiffeId;

TEST_CASE("a SPIFFE ID is split into trust domain and path") {
  const auto id = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/cart");
  REQUIRE(id.ok());
  CHECK(id.value().text == "spiffe://cluster.local/ns/shop/sa/cart");
  CHECK(id.value().trustDomain() == "cluster.local");
  CHECK(id.value().path() == "/ns/shop/sa/cart");
}

TEST_CASE("scheme and trust domain fold to lower case, the path keeps its case") {
  const auto id = parseSpiffeId("SPIFFE://Cluster.LOCAL/ns/Shop");
  REQUIRE(id.ok());
  CHECK(id.value().text == "spiffe://cluster.local/ns/Shop");
  CHECK_FALSE(id.value() == parseSpiffeId("spiffe://cluster.local/ns/shop").value());
}

TEST_CASE("a trust domain ID has an empty path") {
  const auto id = parseSpiffeId("spiffe://cluster_1.local-x");
  REQUIRE(id.ok());
  CHECK(id.value().trustDomain() == "cluster_1.local-x");
  CHECK(id.value().path().empty());
}

TEST_CASE("an empty SPIFFE ID answers empty parts") {
  const weft::tls::SpiffeId none;
  CHECK(none.trustDomain().empty());
  CHECK(none.path().empty());
}

TEST_CASE("a SPIFFE ID that breaks a rule is refused") {
  const std::vector<std::string> broken = {
      "",
      "spiffe:",
      "spiffe:/td/a",
      "spiffe://",
      "spiffe:///ns/a",
      "https://td/a",
      " spiffe://td/a",
      "spiffe://td/a ",
      "spiffe://user@td/a",
      "spiffe://td:8080/a",
      "spiffe://t%64/a",
      "spiffe://t\xc3\xa4/a",
      "spiffe://td?x",
      "spiffe://td#x",
      "spiffe://td/",
      "spiffe://td/a/",
      "spiffe://td//a",
      "spiffe://td/a//b",
      "spiffe://td/.",
      "spiffe://td/a/../b",
      "spiffe://td/a?b",
      "spiffe://td/a#b",
      "spiffe://td/%61",
      "spiffe://td/a\\b",
      std::string("spiffe://td/a\0b", 15),
  };
  for (const std::string& text : broken) {
    CAPTURE(text);
    const auto id = parseSpiffeId(text);
    CHECK_FALSE(id.ok());
    CHECK(id.status().code() == Code::kInvalid);
  }
}

TEST_CASE("the trust domain's limit is 255 bytes") {
  CHECK(parseSpiffeId("spiffe://" + std::string(255, 'a') + "/x").ok());
  CHECK_FALSE(parseSpiffeId("spiffe://" + std::string(256, 'a') + "/x").ok());
}

TEST_CASE("the limit of a whole SPIFFE ID is 2048 bytes") {
  const std::string head = "spiffe://td/";
  CHECK(parseSpiffeId(head + std::string(2048 - head.size(), 'a')).ok());
  CHECK_FALSE(parseSpiffeId(head + std::string(2049 - head.size(), 'a')).ok());
}
