// SPDX-License-Identifier: Apache-2.0
#include "base/ip.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace weft {
namespace {
constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
}  // namespace

bool Ip::isV4() const {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes.begin());
}

bool Ip::isLoopback() const {
  if (isV4()) {
    return bytes[12] == 127;
  }
  return std::all_of(bytes.begin(), bytes.end() - 1, [](uint8_t b) { return b == 0; }) &&
         bytes[15] == 1;
}

bool Ip::isAny() const {
  const size_t from = isV4() ? 12 : 0;
  return std::all_of(bytes.begin() + from, bytes.end(), [](uint8_t b) { return b == 0; });
}

std::optional<Ip> Ip::fromBytes(std::span<const uint8_t> raw) {
  Ip ip;
  if (raw.size() == 4) {
    std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), ip.bytes.begin());
    std::copy(raw.begin(), raw.end(), ip.bytes.begin() + 12);
    return ip;
  }
  if (raw.size() == 16) {
    std::copy(raw.begin(), raw.end(), ip.bytes.begin());
    return ip;
  }
  return std::nullopt;
}

std::optional<Ip> Ip::parse(std::string_view text) {
  char z[INET6_ADDRSTRLEN];
  // A NUL would end the copy early and hide what follows it.
  if (text.empty() || text.size() >= sizeof z || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  std::memcpy(z, text.data(), text.size());
  z[text.size()] = '\0';
  uint8_t raw[16];
  if (inet_pton(AF_INET, z, raw) == 1) {
    return fromBytes({raw, 4});
  }
  if (inet_pton(AF_INET6, z, raw) == 1) {
    return fromBytes({raw, 16});
  }
  return std::nullopt;
}

std::string Ip::toString() const {
  char z[INET6_ADDRSTRLEN];
  if (isV4()) {
    return inet_ntop(AF_INET, bytes.data() + 12, z, sizeof z);
  }
  return inet_ntop(AF_INET6, bytes.data(), z, sizeof z);
}

bool samePrefix(const Ip& a, const Ip& b, unsigned bits) {
  if (a.isV4() != b.isV4() || bits > (a.isV4() ? 32U : 128U)) {
    return false;
  }
  const unsigned total = bits + (a.isV4() ? 96 : 0);
  const unsigned whole = total / 8;
  if (!std::equal(a.bytes.begin(), a.bytes.begin() + whole, b.bytes.begin())) {
    return false;
  }
  const unsigned rest = total % 8;
  return rest == 0 || (a.bytes[whole] >> (8 - rest)) == (b.bytes[whole] >> (8 - rest));
}

std::optional<Endpoint> Endpoint::fromSockaddr(const sockaddr_storage& address) {
  Endpoint e;
  if (address.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &address, sizeof in);
    uint8_t raw[4];
    std::memcpy(raw, &in.sin_addr, 4);
    e.ip = *Ip::fromBytes(raw);
    e.port = ntohs(in.sin_port);
    return e;
  }
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &address, sizeof in);
    std::memcpy(e.ip.bytes.data(), &in.sin6_addr, 16);
    e.port = ntohs(in.sin6_port);
    return e;
  }
  return std::nullopt;
}

sockaddr_in6 Endpoint::toSockaddr() const {
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(port);
  std::memcpy(&in.sin6_addr, ip.bytes.data(), 16);
  return in;
}

std::string Endpoint::toString() const {
  const std::string host = ip.toString();
  return (ip.isV4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

}  // namespace weft
