// SPDX-License-Identifier: Apache-2.0
#include "http/authority.h"

#include <algorithm>

namespace weft::http {
namespace {

constexpr size_t kPortDigitsMax = 5;

Status invalid(const char* what) {
  return Status(Code::kInvalid, std::string("authority: ") + what);
}

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}
bool isV4Character(char c) {
  return isDigit(c) || c == '.';
}
bool isV6Character(char c) {
  return isV4Character(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':';
}

bool isNameCharacter(char c) {
  return isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

// Decimal digits, or what C takes for a number: "0x0a". RFC 3696 section 2: no top-level domain is.
bool isNumber(std::string_view label) {
  if (label.starts_with("0x") || label.starts_with("0X")) {
    label.remove_prefix(2);
    return std::all_of(label.begin(), label.end(), isV6Character);
  }
  return std::all_of(label.begin(), label.end(), isDigit);
}

bool isLabel(std::string_view text) {
  return !text.empty() && text.size() <= kLabelBytesMax && text.front() != '-' &&
         text.back() != '-' && std::all_of(text.begin(), text.end(), isNameCharacter);
}

bool isName(std::string_view text) {
  if (text.size() > kHostBytesMax) {
    return false;
  }
  while (true) {
    const size_t dot = text.find('.');
    if (!isLabel(text.substr(0, dot))) {
      return false;
    }
    if (dot == std::string_view::npos) {
      return !isNumber(text);
    }
    text.remove_prefix(dot + 1);
  }
}

std::string lowerCase(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  }
  return out;
}

// 0 for anything that is not a port in its shortest spelling.
uint16_t parsePort(std::string_view text) {
  if (text.empty() || text.size() > kPortDigitsMax || text[0] == '0' ||
      !std::all_of(text.begin(), text.end(), isDigit)) {
    return 0;
  }
  uint32_t port = 0;
  for (const char c : text) {
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  return port <= UINT16_MAX ? static_cast<uint16_t>(port) : uint16_t{0};
}

}  // namespace

Result<Authority> parseAuthority(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return invalid("no port");
  }
  const uint16_t port = parsePort(text.substr(colon + 1));
  if (port == 0) {
    return invalid("the port is not a number from 1 to 65535");
  }
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  if (!std::all_of(host.begin(), host.end(), bracketed ? isV6Character : isV4Character)) {
    if (bracketed || !isName(host)) {
      return invalid("the host is neither an IP address nor a name");
    }
    return Authority{std::nullopt, lowerCase(host), port};
  }
  const std::optional<Ip> ip = Ip::parse(host);
  if (!ip || ip->isV4() == bracketed) {
    return invalid("the host is not an IP address in its own spelling");
  }
  return Authority{*ip, "", port};
}

}  // namespace weft::http
