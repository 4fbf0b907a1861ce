// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weft {

/// An IPv4 or IPv6 address, as 16 bytes. IPv4 is held in its mapped form (::ffff:a.b.c.d), so that
/// the two spellings of one address are equal and a dual-stack socket's peers need no care.
struct Ip {
  std::array<uint8_t, 16> bytes{};

  auto operator<=>(const Ip&) const = default;

  bool isV4() const;
  bool isLoopback() const;  ///< 127.0.0.0/8 or ::1
  bool isAny() const;       ///< 0.0.0.0 or ::

  /// 4 or 16 bytes in network order; nothing for any other length.
  static std::optional<Ip> fromBytes(std::span<const uint8_t> raw);
  /// Dotted or colon text without port, brackets or zone.
  static std::optional<Ip> parse(std::string_view text);
  std::string toString() const;
};

/// True when the first `bits` of the two agree. `bits` counts from the front of the address's own
/// family (0..32 for IPv4, 0..128 for IPv6); addresses of different families never match.
bool samePrefix(const Ip& a, const Ip& b, unsigned bits);

/// An address and a TCP port, in host order.
struct Endpoint {
  Ip ip;
  uint16_t port = 0;

  auto operator<=>(const Endpoint&) const = default;

  static std::optional<Endpoint> fromSockaddr(const sockaddr_storage& address);
  /// Always an AF_INET6 address (mapped for IPv4): our sockets are dual stack.
  sockaddr_in6 toSockaddr() const;
  /// "10.0.0.1:80" or "[fd00::1]:80".
  std::string toString() const;
};

struct IpHash {
  size_t operator()(const Ip& ip) const {
    return std::hash<std::string_view>{}(
        {reinterpret_cast<const char*>(ip.bytes.data()), ip.bytes.size()});
  }
};

}  // namespace weft
