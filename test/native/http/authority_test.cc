// SPDX-License-Identifier: Apache-2.0
#include "http/authority.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using weft::http::parseAuthority;

TEST_CASE("an authority is an address and a port") {
  const std::vector<std::string> good = {
      "10.0.0.2:8080", "0.0.0.1:1", "255.255.255.255:65535", "[fd00::2]:8080", "[::1]:443",
  };
  for (const std::string& text : good) {
    CAPTURE(text);
    const auto authority = parseAuthority(text);
    REQUIRE(authority.ok());
    REQUIRE(authority.value().ip.has_value());
    CHECK(weft::Endpoint{*authority.value().ip, authority.value().port}.toString() == text);
    CHECK(authority.value().host.empty());
  }
}

TEST_CASE("or a name and a port; case has no meaning") {
  const std::string label(63, 'a');
  const std::string longest = label + "." + label + "." + label + "." + label.substr(2);
  REQUIRE(longest.size() == 253);
  const std::vector<std::string> good = {
      "web.shop.svc.cluster.local",
      "localhost",
      "a",
      "3com.example",
      "_sip.x1",
      "10.example",
      "x--y.example",
      "0xg",
      "b2",
      longest,
  };
  for (const std::string& name : good) {
    CAPTURE(name);
    const auto authority = parseAuthority(name + ":8080");
    REQUIRE(authority.ok());
    CHECK(authority.value().host == name);
    CHECK(authority.value().port == 8080);
    CHECK_FALSE(authority.value().ip.has_value());
  }
  REQUIRE(parseAuthority("Web.SHOP.svc:80").ok());
  CHECK(parseAuthority("Web.SHOP.svc:80").value().host == "web.shop.svc");
  CHECK_FALSE(parseAuthority(longest + "a:80").ok());
  CHECK_FALSE(parseAuthority(label + "a.example:80").ok());
}

TEST_CASE("the hexadecimal digits of an authority may be in upper case") {
  REQUIRE(parseAuthority("[FD00::A]:1").ok());
  CHECK(parseAuthority("[FD00::A]:1").value().ip == weft::Ip::parse("fd00::a"));
}

TEST_CASE("an authority in any other spelling is refused") {
  const std::vector<std::string> broken = {
      "",
      ":",
      ":80",
      "10.0.0.2",
      "10.0.0.2:",
      "10.0.0.2:0",
      "10.0.0.2:080",
      "10.0.0.2:65536",
      "10.0.0.2:123456",
      "10.0.0.2:+80",
      "10.0.0.2:-80",
      "10.0.0.2: 80",
      "10.0.0.2:80 ",
      "10.0.0.2:80/",
      "10.0.0.2:8o",
      "10.0.0.2:80:80",
      "10.0.0:80",
      "10.0.0.02:80",
      "10.0.0.256:80",
      "10.0.0.2.3:80",
      " 10.0.0.2:80",
      "[10.0.0.2]:80",
      "0x0a.0.0.2:80",
      "user@10.0.0.2:80",
      "fd00::2:80",
      "[fd00::2]80",
      "[fd00::2",
      "fd00::2]:80",
      "[fd00::2%eth0]:80",
      "[fd00::2%251]:80",
      "[::ffff:10.0.0.2]:80",
      "[]:80",
      "[[::1]]:80",
      "[::1]x:80",
      "web.shop.svc.cluster.local",
      "web.shop.:80",
      ".web.shop:80",
      "web..shop:80",
      "-web.shop:80",
      "web-.shop:80",
      "web.shop.1:80",
      "web.shop.0x1f:80",
      "*.shop:80",
      "web shop:80",
      "web/shop:80",
      "user@web.shop:80",
      "web.shop:80:80",
      "[web.shop]:80",
      "w\xc3\xa9"
      "b.shop:80",
      std::string("10.0.0.2\0:80", 12),
      std::string("10.0.0.2:80\0", 12),
      std::string(5000, '1') + ":80",
  };
  for (const std::string& text : broken) {
    CAPTURE(text);
    CHECK_FALSE(parseAuthority(text).ok());
    CHECK(parseAuthority(text).status().code() == weft::Code::kInvalid);
  }
}
