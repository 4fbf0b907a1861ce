// SPDX-License-Identifier: Apache-2.0
// protozero reports bad bytes by exceptions. They are on in this file and those it reads with
// (see CMakeLists.txt), and end in decodeTablesDelta().
#include "proxy/tables_decode.h"

#include <string_view>
#include <unordered_set>
#include <utility>

#include "proxy/policy_decode.h"
#include "proxy/service_decode.h"
#include "proxy/tables_fields.h"

namespace weft::proxy {
namespace {

using protozero::pbf_reader;

/// Reads messages into values. The first broken rule ends everything.
class Decoder : public FieldReader {
 public:
  bool readDelta(pbf_reader in, TablesDelta& out);

 private:
  bool inEntry(const char* kind, const std::string& key, bool ok);
  bool readAddress(pbf_reader& in, std::vector<Ip>& out);
  bool readPlace(pbf_reader& in, Workload& out);
  bool readBinding(pbf_reader in, Workload& out);
  bool readWorkload(pbf_reader in, Workload& out);
  bool readWorkloadText(pbf_reader& in, Workload& out);
  bool checkWorkload(const Workload& workload);
  bool readService(pbf_reader in, Service& out);
  bool readPolicy(pbf_reader in, Policy& out);
  template <typename T, typename Read>
  bool readEntry(std::vector<std::shared_ptr<const T>>& out, size_t max, const char* what,
                 Read read);
  bool readRemoved(pbf_reader& in, std::vector<std::string>& out, size_t max, const char* what);
};

/// Puts the entry's name in front of what was wrong in it.
bool Decoder::inEntry(const char* kind, const std::string& key, bool ok) {
  return ok ||
         fail({status().code(), std::string(kind) + " \"" + key + "\": " + status().message()});
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
      return readPlace(in, out);
  }
}

bool Decoder::readPlace(pbf_reader& in, Workload& out) {
  switch (in.tag_and_type()) {
    case text(18):
      return readText(in, out.locality.region, "region");
    case text(19):
      return readText(in, out.locality.zone, "zone");
    case text(20):
      return readText(in, out.locality.subzone, "subzone");
    case text(21):
      return readText(in, out.network, "network");
    case text(24):
      return readText(in, out.hostname, "hostname");
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
      case number(22):
        ok = readNumber(in, UINT32_MAX, value, "capacity");
        out.capacity = static_cast<uint32_t>(value);
        break;
      case number(23):
        ok = readFlag(in, out.waypoint, "waypoint");
        break;
      default:
        ok = readWorkloadText(in, out);
    }
    if (!ok) {
      return false;
    }
  }
  return checkWorkload(out);
}

bool Decoder::checkWorkload(const Workload& workload) {
  std::unordered_set<std::string_view> services;
  for (const ServiceBinding& binding : workload.services) {
    if (!services.insert(binding.service).second) {
      return invalid("service \"" + binding.service + "\": twice");
    }
  }
  if (workload.uid.empty()) {
    return invalid("uid: empty");
  }
  // Without one no policy of a namespace could hold: that would be fail-open.
  return !workload.namespaceName.empty() || invalid("namespace: empty");
}

bool Decoder::readService(pbf_reader in, Service& out) {
  ServiceReader reader;
  return reader.readService(in, out) || fail(reader.takeStatus());
}

bool Decoder::readPolicy(pbf_reader in, Policy& out) {
  PolicyReader reader;
  return reader.readPolicy(in, out) || fail(reader.takeStatus());
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
