// SPDX-License-Identifier: Apache-2.0
#include "http/baggage.h"

#include <algorithm>
#include <array>

namespace weft::http {
namespace {

constexpr std::array<std::string_view, 4> kWorkloadTypes = {"deployment", "cronjob", "pod", "job"};
constexpr std::string_view kWorkloadPrefix = "k8s.";
constexpr std::string_view kWorkloadSuffix = ".name";

// baggage-octet of W3C Baggage, without the percent sign, which starts an escape.
bool isPlain(char c) {
  return c > 0x20 && c < 0x7f && c != '"' && c != ',' && c != ';' && c != '\\' && c != '%';
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

std::string encodeForwarded(std::string_view address) {
  return "for=\"" + std::string(address) + "\"";
}

}  // namespace weft::http
