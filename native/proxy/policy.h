// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ip.h"
#include "base/status.h"

namespace weft::proxy {

/// What is known of a connection when it is authorized.
struct PolicySubject {
  std::string_view spiffeId;  ///< Proved by the client's certificate; empty in plaintext.
  Ip sourceIp;
  Ip destinationIp;
  uint16_t destinationPort = 0;  ///< The application's own, never 15008.
};

/// The answer, and what decided it.
struct Verdict {
  bool allowed = false;  // fail-closed by default
  std::string policy;    ///< "namespace/name" of the deciding policy; empty when none decided.
  int rule = -1;         ///< The place of its rule that matched; -1 when none did.
  std::string reason;    ///< A sentence for a person.
};

struct StringMatch {
  enum class Kind { kExact, kPrefix, kSuffix, kPresence };
  Kind kind = Kind::kExact;
  std::string text;  ///< Empty with kPresence, which takes any text but the empty one.

  bool operator==(const StringMatch&) const = default;
};

struct Cidr {
  Ip ip;
  uint8_t length = 0;  ///< In the address's own family: 0..32 or 0..128.

  bool operator==(const Cidr&) const = default;
};

/// The range of `length` leading bits that `ip` is in: its host bits are zero.
Cidr rangeOf(const Ip& ip, uint8_t length);

/// Both are compared whole; a client without identity has no service account and is never matched.
struct ServiceAccountMatch {
  std::string namespaceName;
  std::string name;

  bool operator==(const ServiceAccountMatch&) const = default;
};

/// AND of the fields that are set; a match with none set never matches. A positive list takes any
/// of its entries, a not-list none. Principals are compared without their "spiffe://"; a namespace
/// is the one of the client's SPIFFE ID. Both are the empty string for a client without identity.
struct PolicyMatch {
  std::vector<StringMatch> namespaces, notNamespaces;
  std::vector<StringMatch> principals, notPrincipals;
  std::vector<Cidr> sourceIps, notSourceIps;
  std::vector<Cidr> destinationIps, notDestinationIps;
  std::vector<uint16_t> destinationPorts, notDestinationPorts;
  std::vector<ServiceAccountMatch> serviceAccounts, notServiceAccounts;

  bool operator==(const PolicyMatch&) const = default;
};

struct PolicyClause {
  std::vector<PolicyMatch> matches;  ///< OR; none: the clause holds.

  bool operator==(const PolicyClause&) const = default;
};

struct PolicyRule {
  std::vector<PolicyClause> clauses;  ///< AND; none: the rule matches everything.

  bool operator==(const PolicyRule&) const = default;
};

enum class PolicyScope { kGlobal, kNamespace, kWorkload };
enum class PolicyAction { kAllow, kDeny };

struct Policy {
  std::string key;
  std::string namespaceName;
  PolicyScope scope = PolicyScope::kNamespace;
  PolicyAction action = PolicyAction::kAllow;
  std::vector<PolicyRule> rules;  ///< OR; none: the policy never matches.
  bool dryRun = false;            ///< Never counts towards a verdict.

  bool operator==(const Policy&) const = default;
};

/// What policies compare of a client. All empty when it proved no identity; an ID whose path is not
/// exactly /ns/X/sa/Y has a principal, but no namespace and no account. Views into the ID.
struct PolicyClient {
  std::string_view principal;  ///< The SPIFFE ID without its scheme.
  std::string_view namespaceName;
  std::string_view serviceAccount;
};
PolicyClient policyClientOf(std::string_view spiffeId);

/// Whether `rule` holds. Pure. `client` is that of the subject's SPIFFE ID.
bool matches(const PolicyRule& rule, const PolicySubject& subject, const PolicyClient& client);

}  // namespace weft::proxy
