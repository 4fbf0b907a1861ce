// SPDX-License-Identifier: Apache-2.0
#include "http/baggage.h"

#include <algorithm>
#include <array>
#include <optional>

namespace weft::http {
namespace {

constexpr size_t kMemberBytesMax = 8192;
constexpr size_t kMembersMax = 64;
constexpr std::array<std::string_view, 4> kWorkloadTypes = {"deployment", "cronjob", "pod", "job"};
constexpr std::string_view kWorkloadPrefix = "k8s.";
constexpr std::string_view kWorkloadSuffix = ".name";

// baggage-octet of W3C Baggage, without the percent sign, which starts an escape.
bool isPlain(char c) {
  return c > 0x20 && c < 0x7f && c != '"' && c != ',' && c != ';' && c != '\\' && c != '%';
}

bool isPrintable(char c) {
  return c >= 0x20 && c < 0x7f;
}

void appendMember(std::string& out, std::string_view key, std::string_view value) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  if (value.empty()) {
    return;
  }
  if (!out.empty()) {
    out += ',';
  }
  out.append(key).append("=");
  for (const char c : value) {
    if (isPlain(c)) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

int hexDigit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char folded = static_cast<char>(c | 0x20);
  return folded >= 'a' && folded <= 'f' ? folded - 'a' + 10 : -1;
}

// Printable ASCII only: these values end up in logs and labels, and no Kubernetes name has more.
std::optional<std::string> decodeValue(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? hexDigit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hexDigit(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return std::nullopt;
      }
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (!isPlain(c)) {
      return std::nullopt;
    }
    if (!isPrintable(c)) {
      return std::nullopt;
    }
    out += c;
  }
  return out;
}

std::string* fieldOf(Baggage& baggage, std::string_view key) {
  if (key == "k8s.cluster.name") {
    return &baggage.cluster;
  }
  if (key == "k8s.namespace.name") {
    return &baggage.namespaceName;
  }
  if (key == "service.name") {
    return &baggage.serviceName;
  }
  if (key == "service.version") {
    return &baggage.serviceVersion;
  }
  if (key == "cloud.region") {
    return &baggage.region;
  }
  return key == "cloud.availability_zone" ? &baggage.zone : nullptr;
}

std::string_view workloadTypeOf(std::string_view key) {
  for (const std::string_view type : kWorkloadTypes) {
    if (key.size() == kWorkloadPrefix.size() + type.size() + kWorkloadSuffix.size() &&
        key.starts_with(kWorkloadPrefix) && key.ends_with(kWorkloadSuffix) &&
        key.substr(kWorkloadPrefix.size(), type.size()) == type) {
      return type;
    }
  }
  return {};
}

// The first of two members with one key counts.
void applyMember(Baggage& baggage, std::string_view member) {
  member = member.substr(0, member.find(';'));
  const size_t equals = member.find('=');
  if (equals == std::string_view::npos) {
    return;
  }
  const std::string_view key = trim(member.substr(0, equals));
  const std::string_view type = workloadTypeOf(key);
  std::string* field = type.empty() ? fieldOf(baggage, key) : &baggage.workloadName;
  if (field == nullptr || !field->empty()) {
    return;
  }
  std::optional<std::string> value = decodeValue(trim(member.substr(equals + 1)));
  if (!value || value->empty()) {
    return;
  }
  *field = std::move(*value);
  if (!type.empty()) {
    baggage.workloadType = type;
  }
}

}  // namespace

std::string encodeBaggage(const Baggage& baggage) {
  const bool knownType = std::find(kWorkloadTypes.begin(), kWorkloadTypes.end(),
                                   baggage.workloadType) != kWorkloadTypes.end();
  const std::string workloadKey = std::string(kWorkloadPrefix) +
                                  (knownType ? baggage.workloadType : "pod") +
                                  std::string(kWorkloadSuffix);
  std::string out;
  appendMember(out, "k8s.cluster.name", baggage.cluster);
  appendMember(out, "k8s.namespace.name", baggage.namespaceName);
  appendMember(out, workloadKey, baggage.workloadName);
  appendMember(out, "service.name", baggage.serviceName);
  appendMember(out, "service.version", baggage.serviceVersion);
  appendMember(out, "cloud.region", baggage.region);
  appendMember(out, "cloud.availability_zone", baggage.zone);
  return out;
}

Baggage parseBaggage(std::string_view text) {
  Baggage baggage;
  for (size_t members = 0; members < kMembersMax && !text.empty(); members++) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma <= kMemberBytesMax) {
      applyMember(baggage, text.substr(0, comma));
    }
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return baggage;
}

std::string encodeForwarded(std::string_view address) {
  return "for=\"" + std::string(address) + "\"";
}

}  // namespace weft::http
