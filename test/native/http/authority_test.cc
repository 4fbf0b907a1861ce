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
    const auto endpoint = parseAuthority(text);
    REQUIRE(endpoint.ok());
    CHECK(endpoint.value().toString() == text);
  }
}

TEST_CASE("the hexadecimal digits of an authority may be in upper case") {
  REQUIRE(parseAuthority("[FD00::A]:1").ok());
  CHECK(parseAuthority("[FD00::A]:1").value().toString() == "[fd00::a]:1");
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
      "web.shop.svc.cluster.local:80",
      "localhost:80",
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
