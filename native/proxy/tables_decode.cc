// SPDX-License-Identifier: Apache-2.0
// protozero reports bad bytes by exceptions. They are on in this file only (see CMakeLists.txt) and
// end in decodeTablesDelta().
#include "proxy/tables_decode.h"

#include <optional>
#include <protozero/pbf_reader.hpp>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace weft::proxy {
namespace {

using protozero::pbf_reader;
using protozero::pbf_wire_type;

constexpr uint32_t text(protozero::pbf_tag_type tag) {
  return protozero::tag_and_type(tag, pbf_wire_type::length_delimited);
}

constexpr uint32_t number(protozero::pbf_tag_type tag) {
  return protozero::tag_and_type(tag, pbf_wire_type::varint);
}

/// Reads messages into values. Each method reads one message or field, and answers false when a
/// rule is broken: `status` then says which. The first one ends everything.
class Decoder {
 public:
  bool readDelta(pbf_reader in, TablesDelta& out);
  Status takeStatus() { return std::move(status_); }

 private:
  bool fail(Code code, std::string message);
  bool invalid(std::string message) { return fail(Code::kInvalid, std::move(message)); }
  bool unknownField(const pbf_reader& in, const char* message);
  /// Puts the entry's name in front of what was wrong in it.
  bool inEntry(const char* kind, const std::string& key, bool ok);
  bool room(size_t count, size_t max, const char* what);

  bool readText(pbf_reader& in, std::string& out, const char* what, size_t max = kTextBytesMax);
  bool readKey(pbf_reader& in, std::string& out, const char* what);
  bool readNumber(pbf_reader& in, uint64_t max, uint64_t& out, const char* what);
  bool readFlag(pbf_reader& in, bool& out, const char* what);
  bool readPort(uint64_t value, uint16_t& out, const char* what, bool zeroAllowed = false);
  bool readAddress(pbf_reader& in, std::vector<Ip>& out);
  bool readPortMap(pbf_reader in, std::vector<PortMap>& out, bool zeroTarget);

  bool readWorkload(pbf_reader in, Workload& out);
  bool readWorkloadText(pbf_reader& in, Workload& out);
  bool readBinding(pbf_reader in, Workload& out);
  bool readService(pbf_reader in, Service& out);

  bool readPolicy(pbf_reader in, Policy& out);
  bool readRule(pbf_reader in, PolicyRule& out);
  bool readClause(pbf_reader in, PolicyClause& out);
  bool readMatch(pbf_reader in, PolicyMatch& out);
  bool readStringMatch(pbf_reader in, std::vector<StringMatch>& out);
  bool readCidr(pbf_reader in, std::vector<Cidr>& out);
  bool readPolicyPorts(pbf_reader& in, std::vector<uint16_t>& out);
  bool addPolicyPort(uint64_t value, std::vector<uint16_t>& out);
  bool readAccount(pbf_reader in, std::vector<ServiceAccountMatch>& out);
  bool countPart() { return room(policyParts_++, kPolicyPartsMax, "parts of a policy"); }

  template <typename T, typename Read>
  bool readEntry(std::vector<std::shared_ptr<const T>>& out, size_t max, const char* what,
                 Read read);
  bool readRemoved(pbf_reader& in, std::vector<std::string>& out, size_t max, const char* what);

  Status status_;
  size_t policyParts_ = 0;
};

bool Decoder::fail(Code code, std::string message) {
  status_ = Status(code, std::move(message));
  return false;
}

bool Decoder::unknownField(const pbf_reader& in, const char* message) {
  return invalid(std::string(message) + ": field " + std::to_string(in.tag()) + " of wire type " +
                 std::to_string(static_cast<uint32_t>(in.wire_type())) + " is not known");
}

bool Decoder::inEntry(const char* kind, const std::string& key, bool ok) {
  return ok || fail(status_.code(),
                    std::string(kind) + " \"" + key + "\": " + std::string(status_.message()));
}

bool Decoder::room(size_t count, size_t max, const char* what) {
  return count < max ||
         fail(Code::kLimit, std::string(what) + ": more than " + std::to_string(max));
}

bool Decoder::readText(pbf_reader& in, std::string& out, const char* what, size_t max) {
  const auto view = in.get_view();
  if (view.size() > max) {
    return fail(Code::kLimit, std::string(what) + ": longer than " + std::to_string(max));
  }
  out.assign(view.data(), view.size());
  return true;
}

bool Decoder::readKey(pbf_reader& in, std::string& out, const char* what) {
  return readText(in, out, what, kKeyBytesMax) &&
         (!out.empty() || invalid(std::string(what) + ": empty"));
}

/// get_bool(), get_uint32() and get_enum() of the library look past the end or cut off high bits.
bool Decoder::readNumber(pbf_reader& in, uint64_t max, uint64_t& out, const char* what) {
  out = in.get_uint64();
  return out <= max || invalid(std::string(what) + ": " + std::to_string(out) + " is not known");
}

bool Decoder::readFlag(pbf_reader& in, bool& out, const char* what) {
  uint64_t value = 0;
  if (!readNumber(in, 1, value, what)) {
    return false;
  }
  out = value == 1;
  return true;
}

bool Decoder::readPort(uint64_t value, uint16_t& out, const char* what, bool zeroAllowed) {
  if (value > UINT16_MAX || (value == 0 && !zeroAllowed)) {
    return invalid(std::string(what) + ": no port has the number " + std::to_string(value));
  }
  out = static_cast<uint16_t>(value);
  return true;
}

std::optional<Ip> ipOf(const protozero::data_view& view) {
  return Ip::fromBytes({reinterpret_cast<const uint8_t*>(view.data()), view.size()});
}

bool Decoder::readAddress(pbf_reader& in, std::vector<Ip>& out) {
  const auto view = in.get_view();
  const auto ip = ipOf(view);
  if (!ip.has_value()) {
    return invalid("address: " + std::to_string(view.size()) + " bytes, not 4 or 16");
  }
  if (!room(out.size(), kAddressesMax, "addresses")) {
    return false;
  }
  out.push_back(*ip);
  return true;
}

bool Decoder::readPortMap(pbf_reader in, std::vector<PortMap>& out, bool zeroTarget) {
  uint64_t service = 0;
  uint64_t target = 0;
  while (in.next()) {
    switch (in.tag_and_type()) {
      case number(1):
        service = in.get_uint64();
        break;
      case number(2):
        target = in.get_uint64();
        break;
      default:
        return unknownField(in, "PortMap");
    }
  }
  PortMap& map = out.emplace_back();
  return room(out.size() - 1, kPortsMax, "ports") &&
         readPort(service, map.servicePort, "service port") &&
         readPort(target, map.targetPort, "target port", zeroTarget);
}

bool Decoder::readBinding(pbf_reader in, Workload& out) {
  if (!room(out.services.size(), kBindingsMax, "services of a workload")) {
    return false;
  }
  ServiceBinding binding;
  while (in.next()) {
    bool ok = false;
    switch (in.tag_and_type()) {
      case text(1):
        ok = readKey(in, binding.service, "service");
        break;
      case text(2):
        ok = readPortMap(in.get_message(), binding.ports, false);
        break;
      default:
        return unknownField(in, "ServiceBinding");
    }
    if (!ok) {
      return false;
    }
  }
  if (binding.service.empty()) {
    return invalid("service: empty");
  }
  out.services.push_back(std::move(binding));
  return true;
}

bool Decoder::readWorkloadText(pbf_reader& in, Workload& out) {
  switch (in.tag_and_type()) {
    case text(1):
      return readKey(in, out.uid, "uid");
    case text(2):
      return readText(in, out.name, "name");
    case text(3):
      return readText(in, out.namespaceName, "namespace");
    case text(4):
      return readText(in, out.serviceAccount, "service account");
    case text(5):
      return readText(in, out.trustDomain, "trust domain");
    case text(7):
      return readText(in, out.node, "node");
    case text(12):
      return readText(in, out.canonicalName, "canonical name");
    case text(13):
      return readText(in, out.canonicalRevision, "canonical revision");
    case text(14):
      return readText(in, out.workloadName, "workload name");
    case text(15):
      return readText(in, out.workloadType, "workload type");
    case text(16):
      return readText(in, out.cluster, "cluster");
    default:
      return unknownField(in, "Workload");
  }
}

bool Decoder::readWorkload(pbf_reader in, Workload& out) {
  out.healthy = false;  // As proto3 has it: a field that is not there is false.
  uint64_t value = 0;
  while (in.next()) {
    bool ok = false;
    switch (in.tag_and_type()) {
      case text(6):
        ok = readAddress(in, out.addresses);
        break;
      case number(8):
        ok = readNumber(in, 1, value, "protocol");
        out.hbone = value == 1;
        break;
      case text(9):
        ok = room(out.policies.size(), kNamedPoliciesMax, "policies of a workload") &&
             readKey(in, out.policies.emplace_back(), "policy");
        break;
      case text(10):
        ok = readBinding(in.get_message(), out);
        break;
      case number(11):
        ok = readFlag(in, out.healthy, "healthy");
        break;
      case number(17):
        ok = readFlag(in, out.hostNetwork, "host network");
        break;
      default:
        ok = readWorkloadText(in, out);
    }
    if (!ok) {
      return false;
    }
  }
  std::unordered_set<std::string_view> services;
  for (const ServiceBinding& binding : out.services) {
    if (!services.insert(binding.service).second) {
      return invalid("service \"" + binding.service + "\": twice");
    }
  }
  if (out.uid.empty()) {
    return invalid("uid: empty");
  }
  // Without one no policy of a namespace could hold: that would be fail-open.
  return !out.namespaceName.empty() || invalid("namespace: empty");
}

bool Decoder::readService(pbf_reader in, Service& out) {
  while (in.next()) {
    bool ok = false;
    switch (in.tag_and_type()) {
      case text(1):
        ok = readKey(in, out.key, "key");
        break;
      case text(2):
        ok = readText(in, out.name, "name");
        break;
      case text(3):
        ok = readText(in, out.namespaceName, "namespace");
        break;
      case text(4):
        ok = readText(in, out.hostname, "hostname");
        break;
      case text(5):
        ok = readAddress(in, out.addresses);
        break;
      case text(6):
        ok = readPortMap(in.get_message(), out.ports, true);
        break;
      case text(7):
        ok = room(out.subjectAltNames.size(), kSubjectAltNamesMax, "subject alt names") &&
             readText(in, out.subjectAltNames.emplace_back(), "subject alt name");
        break;
      default:
        return unknownField(in, "Service");
    }
    if (!ok) {
      return false;
    }
  }
  return !out.key.empty() || invalid("key: empty");
}

bool Decoder::readStringMatch(pbf_reader in, std::vector<StringMatch>& out) {
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

bool Decoder::readCidr(pbf_reader in, std::vector<Cidr>& out) {
  if (!countPart()) {
    return false;
  }
  std::optional<Ip> ip;
  uint64_t length = 0;
  uint64_t familyBits = 0;
  while (in.next()) {
    switch (in.tag_and_type()) {
      case text(1): {
        const auto view = in.get_view();
        ip = ipOf(view);
        familyBits = view.size() * 8;
        break;
      }
      case number(2):
        length = in.get_uint64();
        break;
      default:
        return unknownField(in, "Cidr");
    }
  }
  if (!ip.has_value()) {
    return invalid("CIDR: address is not 4 or 16 bytes");
  }
  // An IPv4 block in its mapped spelling: ::ffff:10.0.0.0/104 is 10.0.0.0/8.
  const uint64_t front = ip->isV4() && familyBits == 128 ? 96 : 0;
  if (length < front || length > familyBits) {
    return invalid("CIDR: length " + std::to_string(length) + " of " + ip->toString());
  }
  out.push_back({*ip, static_cast<uint8_t>(length - front)});
  return true;
}

bool Decoder::addPolicyPort(uint64_t value, std::vector<uint16_t>& out) {
  return countPart() && readPort(value, out.emplace_back(), "destination port");
}

bool Decoder::readPolicyPorts(pbf_reader& in, std::vector<uint16_t>& out) {
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

bool Decoder::readAccount(pbf_reader in, std::vector<ServiceAccountMatch>& out) {
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

bool Decoder::readMatch(pbf_reader in, PolicyMatch& out) {
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

bool Decoder::readClause(pbf_reader in, PolicyClause& out) {
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

bool Decoder::readRule(pbf_reader in, PolicyRule& out) {
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

bool Decoder::readPolicy(pbf_reader in, Policy& out) {
  policyParts_ = 0;
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

template <typename T, typename Read>
bool Decoder::readEntry(std::vector<std::shared_ptr<const T>>& out, size_t max, const char* what,
                        Read read) {
  if (!room(out.size(), max, what)) {
    return false;
  }
  auto entry = std::make_shared<T>();
  if (!read(*entry)) {
    return false;
  }
  out.push_back(std::move(entry));
  return true;
}

bool Decoder::readRemoved(pbf_reader& in, std::vector<std::string>& out, size_t max,
                          const char* what) {
  return room(out.size(), max, what) && readKey(in, out.emplace_back(), what);
}

bool Decoder::readDelta(pbf_reader in, TablesDelta& out) {
  while (in.next()) {
    bool ok = false;
    switch (in.tag_and_type()) {
      case text(1):
        ok = readEntry(out.workloads, kWorkloadsMax, "workloads", [&](Workload& workload) {
          return inEntry("workload", workload.uid, readWorkload(in.get_message(), workload));
        });
        break;
      case text(2):
        ok = readRemoved(in, out.removedWorkloads, kWorkloadsMax, "removed workloads");
        break;
      case text(3):
        ok = readEntry(out.services, kServicesMax, "services", [&](Service& service) {
          return inEntry("service", service.key, readService(in.get_message(), service));
        });
        break;
      case text(4):
        ok = readRemoved(in, out.removedServices, kServicesMax, "removed services");
        break;
      case text(5):
        ok = readEntry(out.policies, kPoliciesMax, "policies", [&](Policy& policy) {
          return inEntry("policy", policy.key, readPolicy(in.get_message(), policy));
        });
        break;
      case text(6):
        ok = readRemoved(in, out.removedPolicies, kPoliciesMax, "removed policies");
        break;
      case number(7):
        ok = readFlag(in, out.policiesReceived, "policies received");
        break;
      default:
        return unknownField(in, "TablesDelta");
    }
    if (!ok) {
      return false;
    }
  }
  return true;
}

/// The first key that occurs twice in the two lists together.
template <typename T, typename KeyOf>
const std::string* repeatedKey(const std::vector<std::shared_ptr<const T>>& added,
                               const std::vector<std::string>& removed, KeyOf keyOf) {
  std::unordered_set<std::string_view> seen;
  seen.reserve(added.size() + removed.size());
  for (const auto& entry : added) {
    if (!seen.insert(keyOf(*entry)).second) {
      return &keyOf(*entry);
    }
  }
  for (const std::string& key : removed) {
    if (!seen.insert(key).second) {
      return &key;
    }
  }
  return nullptr;
}

Status checkKeys(const TablesDelta& delta) {
  const auto twice = [](const char* kind, const std::string& key) {
    return Status(Code::kInvalid, std::string(kind) + " \"" + key + "\": twice in one delta");
  };
  const auto uidOf = [](const Workload& workload) -> const std::string& { return workload.uid; };
  const auto keyOf = [](const auto& entry) -> const std::string& { return entry.key; };
  if (const auto* uid = repeatedKey(delta.workloads, delta.removedWorkloads, uidOf)) {
    return twice("workload", *uid);
  }
  if (const auto* key = repeatedKey(delta.services, delta.removedServices, keyOf)) {
    return twice("service", *key);
  }
  if (const auto* key = repeatedKey(delta.policies, delta.removedPolicies, keyOf)) {
    return twice("policy", *key);
  }
  return {};
}

}  // namespace

Result<TablesDelta> decodeTablesDelta(std::span<const uint8_t> bytes) {
  if (bytes.size() > kDeltaBytesMax) {
    return Status(Code::kLimit, "delta: longer than " + std::to_string(kDeltaBytesMax));
  }
  try {
    TablesDelta delta;
    Decoder decoder;
    const pbf_reader in(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!decoder.readDelta(in, delta)) {
      return decoder.takeStatus();
    }
    if (Status status = checkKeys(delta); !status.ok()) {
      return status;
    }
    return delta;
  } catch (const protozero::exception& error) {
    return Status(Code::kInvalid, std::string("delta: ") + error.what());
  }
}

}  // namespace weft::proxy
