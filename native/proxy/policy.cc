// SPDX-License-Identifier: Apache-2.0
#include "proxy/policy.h"

#include <algorithm>

namespace weft::proxy {
namespace {

constexpr std::string_view kScheme = "spiffe://";

/// Takes the segment up to the next slash, or all of it, off the front of `rest`.
std::string_view takeSegment(std::string_view& rest) {
  const size_t slash = rest.find('/');
  const std::string_view segment = rest.substr(0, slash);
  rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  return segment;
}

bool accepts(const StringMatch& match, std::string_view text) {
  switch (match.kind) {
    case StringMatch::Kind::kExact:
      return text == match.text;
    case StringMatch::Kind::kPrefix:
      return text.starts_with(match.text);
    case StringMatch::Kind::kSuffix:
      return text.ends_with(match.text);
    case StringMatch::Kind::kPresence:
      return !text.empty();
  }
  return false;
}

/// One field and its negation: any of `wanted` (when there are some), and none of `unwanted`.
template <typename Entry, typename Predicate>
bool holds(const std::vector<Entry>& wanted, const std::vector<Entry>& unwanted,
           Predicate accepted) {
  return (wanted.empty() || std::any_of(wanted.begin(), wanted.end(), accepted)) &&
         std::none_of(unwanted.begin(), unwanted.end(), accepted);
}

bool noneSet(const PolicyMatch& match) {
  return match.namespaces.empty() && match.notNamespaces.empty() && match.principals.empty() &&
         match.notPrincipals.empty() && match.sourceIps.empty() && match.notSourceIps.empty() &&
         match.destinationIps.empty() && match.notDestinationIps.empty() &&
         match.destinationPorts.empty() && match.notDestinationPorts.empty() &&
         match.serviceAccounts.empty() && match.notServiceAccounts.empty();
}

bool matchHolds(const PolicyMatch& match, const PolicySubject& subject,
                const PolicyClient& client) {
  if (noneSet(match)) {
    return false;
  }
  const auto texts = [](std::string_view text) {
    return [text](const StringMatch& entry) { return accepts(entry, text); };
  };
  const auto inside = [](const Ip& ip) {
    return [&ip](const Cidr& entry) { return samePrefix(entry.ip, ip, entry.length); };
  };
  const auto samePort = [&](uint16_t port) { return port == subject.destinationPort; };
  const auto sameAccount = [&](const ServiceAccountMatch& entry) {
    return !client.serviceAccount.empty() && entry.namespaceName == client.namespaceName &&
           entry.name == client.serviceAccount;
  };
  return holds(match.destinationPorts, match.notDestinationPorts, samePort) &&
         holds(match.namespaces, match.notNamespaces, texts(client.namespaceName)) &&
         holds(match.principals, match.notPrincipals, texts(client.principal)) &&
         holds(match.serviceAccounts, match.notServiceAccounts, sameAccount) &&
         holds(match.sourceIps, match.notSourceIps, inside(subject.sourceIp)) &&
         holds(match.destinationIps, match.notDestinationIps, inside(subject.destinationIp));
}

}  // namespace

Cidr rangeOf(const Ip& ip, uint8_t length) {
  Cidr range{ip, length};
  const size_t bits = length + (ip.isV4() ? 96U : 0U);
  for (size_t i = 0; i < range.ip.bytes.size(); i++) {
    const size_t kept = bits > i * 8 ? std::min<size_t>(bits - i * 8, 8) : 0;
    range.ip.bytes[i] = static_cast<uint8_t>(range.ip.bytes[i] & (0xff00U >> kept));
  }
  return range;
}

PolicyClient policyClientOf(std::string_view spiffeId) {
  PolicyClient client;
  if (spiffeId.starts_with(kScheme)) {
    spiffeId.remove_prefix(kScheme.size());
  }
  client.principal = spiffeId;
  if (std::count(spiffeId.begin(), spiffeId.end(), '/') != 4) {
    return client;
  }
  takeSegment(spiffeId);
  if (takeSegment(spiffeId) != "ns") {
    return client;
  }
  const std::string_view namespaceName = takeSegment(spiffeId);
  if (takeSegment(spiffeId) != "sa" || namespaceName.empty() || spiffeId.empty()) {
    return client;
  }
  client.namespaceName = namespaceName;
  client.serviceAccount = spiffeId;
  return client;
}

bool matches(const PolicyRule& rule, const PolicySubject& subject, const PolicyClient& client) {
  return std::all_of(rule.clauses.begin(), rule.clauses.end(), [&](const PolicyClause& clause) {
    return clause.matches.empty() ||
           std::any_of(clause.matches.begin(), clause.matches.end(), [&](const PolicyMatch& match) {
             return matchHolds(match, subject, client);
           });
  });
}

}  // namespace weft::proxy
