// SPDX-License-Identifier: Apache-2.0
#include "tls/spiffe_id.h"

#include <algorithm>

namespace weft::tls {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr size_t kIdBytesMax = 2048;
constexpr size_t kTrustDomainBytesMax = 255;

// By hand: std::tolower and friends follow the locale.
bool isUpper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool isLowerOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool isMark(char c) {
  return c == '.' || c == '-' || c == '_';
}
char lower(char c) {
  return isUpper(c) ? static_cast<char>(c - 'A' + 'a') : c;
}

bool isPathCharacter(char c) {
  return isLowerOrDigit(c) || isUpper(c) || isMark(c);
}
bool isTrustDomainCharacter(char c) {
  return isLowerOrDigit(c) || isMark(c);
}

Status invalid(const char* rule) {
  return Status(Code::kInvalid, std::string("SPIFFE ID: ") + rule);
}

// `path` is empty or starts with a slash.
Status checkPath(std::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view segment = path.substr(0, path.find('/'));
    if (segment.empty()) {
      return invalid("the path has an empty segment");
    }
    if (segment == "." || segment == "..") {
      return invalid("the path has a relative segment");
    }
    if (!std::all_of(segment.begin(), segment.end(), isPathCharacter)) {
      return invalid("the path has a character that is not allowed");
    }
    path.remove_prefix(segment.size());
  }
  return {};
}

}  // namespace

std::string_view SpiffeId::trustDomain() const {
  return std::string_view(text).substr(std::min(kScheme.size(), text.size()), trustDomainLength);
}

std::string_view SpiffeId::path() const {
  return std::string_view(text).substr(std::min(kScheme.size() + trustDomainLength, text.size()));
}

Result<SpiffeId> parseSpiffeId(std::string_view text) {
  if (text.size() > kIdBytesMax) {
    return invalid("longer than 2048 bytes");
  }
  std::string canonical(text);
  const size_t schemeEnd = std::min(kScheme.size(), canonical.size());
  std::transform(canonical.begin(), canonical.begin() + static_cast<ptrdiff_t>(schemeEnd),
                 canonical.begin(), lower);
  if (!std::string_view(canonical).starts_with(kScheme)) {
    return invalid("the scheme is not spiffe");
  }
  const size_t slash = std::min(canonical.find('/', kScheme.size()), canonical.size());
  const auto domainBegin = canonical.begin() + static_cast<ptrdiff_t>(kScheme.size());
  const auto domainEnd = canonical.begin() + static_cast<ptrdiff_t>(slash);
  std::transform(domainBegin, domainEnd, domainBegin, lower);
  const size_t length = slash - kScheme.size();
  if (length == 0 || length > kTrustDomainBytesMax) {
    return invalid("the trust domain is empty or longer than 255 bytes");
  }
  if (!std::all_of(domainBegin, domainEnd, isTrustDomainCharacter)) {
    return invalid("the trust domain has a character that is not allowed");
  }
  Status path = checkPath(std::string_view(canonical).substr(slash));
  if (!path.ok()) {
    return path;
  }
  return SpiffeId{std::move(canonical), length};
}

}  // namespace weft::tls
