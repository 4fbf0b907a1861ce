// SPDX-License-Identifier: Apache-2.0
#include "base/ip.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

using weft::Endpoint;
using weft::Ip;
using weft::samePrefix;

namespace {

Ip ip(std::string_view text) {
  const auto parsed = Ip::parse(text);
  REQUIRE(parsed.has_value());
  return *parsed;
}

template <typename T>
sockaddr_storage stored(const T& address) {
  sockaddr_storage out{};
  std::memcpy(&out, &address, sizeof address);
  return out;
}

}  // namespace

TEST_CASE("an address is written as it was read") {
  for (const char* text : {"0.0.0.0", "10.0.0.1", "255.255.255.255", "::", "::1", "fd00::2",
                           "2001:db8::ff00:42:8329"}) {
    CHECK(ip(text).toString() == text);
  }
  CHECK(ip("FD00:0::2").toString() == "fd00::2");
}

TEST_CASE("both spellings of an IPv4 address are one") {
  CHECK(ip("::ffff:10.0.0.1") == ip("10.0.0.1"));
  CHECK(ip("::ffff:10.0.0.1").isV4());
  CHECK_FALSE(ip("::10.0.0.1").isV4());
  CHECK_FALSE(Ip().isV4());
  CHECK(weft::IpHash()(ip("::ffff:a00:1")) == weft::IpHash()(ip("10.0.0.1")));
}

TEST_CASE("what is not exactly an address does not parse") {
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {""sv, " 10.0.0.1"sv, "10.0.0.1 "sv, "10.0.0"sv, "10.0.0.256"sv, "010.0.0.1"sv,
        "10.0.0.1:80"sv, "[::1]"sv, "fe80::1%eth0"sv, ":::"sv, "1::2::3"sv, "::1/64"sv,
        "localhost"sv, "10.0.0.1\0"sv, "10.0.0.1\0.evil"sv,
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"sv}) {
    CAPTURE(text);
    CHECK_FALSE(Ip::parse(text).has_value());
  }
}

TEST_CASE("raw bytes are an address when there are 4 or 16 of them") {
  const uint8_t raw[17] = {10, 0, 0, 1};
  CHECK(Ip::fromBytes({raw, 4}) == ip("10.0.0.1"));
  CHECK(Ip::fromBytes({raw, 16}) == ip("a00:1::"));
  for (const size_t n : {0, 3, 5, 15, 17}) {
    CHECK_FALSE(Ip::fromBytes({raw, n}).has_value());
  }
}

TEST_CASE("loopback and the unspecified address are known in both families") {
  for (const char* text : {"127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"}) {
    CHECK(ip(text).isLoopback());
  }
  for (const char* text : {"126.255.255.255", "128.0.0.1", "::2", "1::1", "::"}) {
    CHECK_FALSE(ip(text).isLoopback());
  }
  CHECK(ip("0.0.0.0").isAny());
  CHECK(ip("::").isAny());
  CHECK_FALSE(ip("0.0.0.1").isAny());
  CHECK_FALSE(ip("::1").isAny());
}

TEST_CASE("a prefix is compared to the bit, within one family") {
  CHECK(samePrefix(ip("10.1.2.3"), ip("10.1.2.3"), 32));
  CHECK(samePrefix(ip("10.1.2.3"), ip("10.1.2.2"), 31));
  CHECK_FALSE(samePrefix(ip("10.1.2.3"), ip("10.1.2.2"), 32));
  CHECK(samePrefix(ip("10.1.127.0"), ip("10.1.0.0"), 17));
  CHECK_FALSE(samePrefix(ip("10.1.128.0"), ip("10.1.0.0"), 17));
  CHECK(samePrefix(ip("1.2.3.4"), ip("250.0.0.0"), 0));
  CHECK(samePrefix(ip("fd00::1"), ip("fd00::2"), 126));
  CHECK_FALSE(samePrefix(ip("fd00::1"), ip("fd00::2"), 127));
  CHECK(samePrefix(ip("fd00::1"), ip("fd00::1"), 128));
  CHECK_FALSE(samePrefix(ip("10.0.0.1"), ip("::1"), 0));
  CHECK_FALSE(samePrefix(ip("10.0.0.1"), ip("10.0.0.1"), 33));
  CHECK_FALSE(samePrefix(ip("::1"), ip("::1"), 129));
}

TEST_CASE("an endpoint goes through a socket address and back") {
  for (const char* text : {"10.0.0.1", "fd00::1"}) {
    const Endpoint e{ip(text), 65535};
    CHECK(Endpoint::fromSockaddr(stored(e.toSockaddr())) == e);
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(80);
  v4.sin_addr.s_addr = htonl(0x0a000001);
  CHECK(Endpoint::fromSockaddr(stored(v4)) == Endpoint{ip("10.0.0.1"), 80});
  sockaddr_storage other{};
  other.ss_family = AF_UNIX;
  CHECK_FALSE(Endpoint::fromSockaddr(other).has_value());
}

TEST_CASE("an endpoint of IPv6 is written in brackets") {
  CHECK(Endpoint{ip("10.0.0.1"), 80}.toString() == "10.0.0.1:80");
  CHECK(Endpoint{ip("fd00::1"), 80}.toString() == "[fd00::1]:80");
}
