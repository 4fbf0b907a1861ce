// SPDX-License-Identifier: Apache-2.0
#include "proxy/policy_decode.h"

#include <utility>

namespace weft::proxy {

bool PolicyReader::readStringMatch(protozero::pbf_reader in, std::vector<StringMatch>& out) {
  if (!countPart()) {
    return false;
  }
  StringMatch& match = out.emplace_back();
  bool set = false;
  while (in.next()) {
    if (set) {
      return invalid("StringMatch: more than one kind");
    }
    set = true;
    bool ok = true;
    switch (in.tag_and_type()) {
      case text(1):
        match.kind = StringMatch::Kind::kExact;
        ok = readText(in, match.text, "exact");
        break;
      case text(2):
        match.kind = StringMatch::Kind::kPrefix;
        ok = readText(in, match.text, "prefix");
        break;
      case text(3):
        match.kind = StringMatch::Kind::kSuffix;
        ok = readText(in, match.text, "suffix");
        break;
      case number(4):
        match.kind = StringMatch::Kind::kPresence;
        ok = in.get_uint64() == 1 || invalid("presence: not true");
        break;
      default:
        return unknownField(in, "StringMatch");
    }
    if (!ok) {
      return false;
    }
  }
  return set || invalid("StringMatch: none set");
}

bool PolicyReader::readCidr(protozero::pbf_reader in, std::vector<Cidr>& out) {
  return countPart() && readRange(in, out.emplace_back());
}

bool PolicyReader::addPolicyPort(uint64_t value, std::vector<uint16_t>& out) {
  return countPart() && readPort(value, out.emplace_back(), "destination port");
}

bool PolicyReader::readPolicyPorts(protozero::pbf_reader& in, std::vector<uint16_t>& out) {
  const auto view = in.get_view();
  const char* at = view.data();
  const char* const end = at + view.size();
  while (at != end) {
    if (!addPolicyPort(protozero::decode_varint(&at, end), out)) {
      return false;
    }
  }
  return true;
}

bool PolicyReader::readAccount(protozero::pbf_reader in, std::vector<ServiceAccountMatch>& out) {
  if (!countPart()) {
    return false;
  }
  ServiceAccountMatch& account = out.emplace_back();
  while (in.next()) {
    bool ok = false;
    switch (in.tag_and_type()) {
      case text(1):
        ok = readText(in, account.namespaceName, "namespace");
        break;
      case text(2):
        ok = readText(in, account.name, "name");
        break;
      default:
        return unknownField(in, "ServiceAccount");
    }
    if (!ok) {
      return false;
    }
  }
  return (!account.namespaceName.empty() && !account.name.empty()) ||
         invalid("ServiceAccount: namespace and name are both needed");
}

bool PolicyReader::readMatch(protozero::pbf_reader in, PolicyMatch& out) {
  while (in.next()) {
    bool ok = false;
    switch (in.tag_and_type()) {
      case text(1):
        ok = readStringMatch(in.get_message(), out.namespaces);
        break;
      case text(2):
        ok = readStringMatch(in.get_message(), out.notNamespaces);
        break;
      case text(3):
        ok = readStringMatch(in.get_message(), out.principals);
        break;
      case text(4):
        ok = readStringMatch(in.get_message(), out.notPrincipals);
        break;
      case text(5):
        ok = readCidr(in.get_message(), out.sourceIps);
        break;
      case text(6):
        ok = readCidr(in.get_message(), out.notSourceIps);
        break;
      case text(7):
        ok = readCidr(in.get_message(), out.destinationIps);
        break;
      case text(8):
        ok = readCidr(in.get_message(), out.notDestinationIps);
        break;
      case text(9):
        ok = readPolicyPorts(in, out.destinationPorts);
        break;
      case number(9):
        ok = addPolicyPort(in.get_uint64(), out.destinationPorts);
        break;
      case text(10):
        ok = readPolicyPorts(in, out.notDestinationPorts);
        break;
      case number(10):
        ok = addPolicyPort(in.get_uint64(), out.notDestinationPorts);
        break;
      case text(11):
        ok = readAccount(in.get_message(), out.serviceAccounts);
        break;
      case text(12):
        ok = readAccount(in.get_message(), out.notServiceAccounts);
        break;
      default:
        return unknownField(in, "PolicyMatch");
    }
    if (!ok) {
      return false;
    }
  }
  return true;
}

bool PolicyReader::readClause(protozero::pbf_reader in, PolicyClause& out) {
  while (in.next()) {
    if (in.tag_and_type() != text(1)) {
      return unknownField(in, "PolicyClause");
    }
    if (!countPart() || !readMatch(in.get_message(), out.matches.emplace_back())) {
      return false;
    }
  }
  return true;
}

bool PolicyReader::readRule(protozero::pbf_reader in, PolicyRule& out) {
  while (in.next()) {
    if (in.tag_and_type() != text(1)) {
      return unknownField(in, "PolicyRule");
    }
    if (!countPart() || !readClause(in.get_message(), out.clauses.emplace_back())) {
      return false;
    }
  }
  return true;
}

bool PolicyReader::readPolicy(protozero::pbf_reader in, Policy& out) {
  uint64_t scope = 0;  // As proto3 has it: a field that is not there is 0.
  uint64_t action = 0;
  while (in.next()) {
    bool ok = false;
    switch (in.tag_and_type()) {
      case text(1):
        ok = readKey(in, out.key, "key");
        break;
      case text(2):
        ok = readText(in, out.namespaceName, "namespace");
        break;
      case number(3):
        ok = readNumber(in, 2, scope, "scope");
        break;
      case number(4):
        ok = readNumber(in, 1, action, "action");
        break;
      case text(5):
        ok = countPart() && readRule(in.get_message(), out.rules.emplace_back());
        break;
      case number(6):
        ok = readFlag(in, out.dryRun, "dry run");
        break;
      default:
        return unknownField(in, "Policy");
    }
    if (!ok) {
      return false;
    }
  }
  out.scope = static_cast<PolicyScope>(scope);
  out.action = static_cast<PolicyAction>(action);
  if (out.key.empty()) {
    return invalid("key: empty");
  }
  return out.scope != PolicyScope::kNamespace || !out.namespaceName.empty() ||
         invalid("namespace: empty, but the policy's scope");
}

}  // namespace weft::proxy
