// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <protozero/pbf_writer.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/tables.h"

namespace weft::proxy {

/// Encodes a weft.tables.TablesDelta as TypeScript would, from the values that come out again.
class DeltaWriter {
 public:
  DeltaWriter& add(const Workload& workload) { return message(1, encode(workload)); }
  DeltaWriter& add(const Service& service) { return message(3, encode(service)); }
  DeltaWriter& add(const Policy& policy) { return message(5, encode(policy)); }
  DeltaWriter& removeWorkload(std::string_view uid) { return message(2, uid); }
  DeltaWriter& removeService(std::string_view key) { return message(4, key); }
  DeltaWriter& removePolicy(std::string_view key) { return message(6, key); }
  DeltaWriter& policiesReceived() {
    writer_.add_bool(7, true);
    return *this;
  }
  /// Any bytes as field `tag`, well formed or not.
  DeltaWriter& message(uint32_t tag, std::string_view bytes) {
    writer_.add_bytes(tag, bytes.data(), bytes.size());
    return *this;
  }

  std::span<const uint8_t> bytes() const {
    return {reinterpret_cast<const uint8_t*>(bytes_.data()), bytes_.size()};
  }
  Result<std::shared_ptr<const Tables>> applyTo(const std::shared_ptr<const Tables>& base) const {
    return Tables::apply(base, bytes());
  }

  static std::string encode(const Workload& workload);
  static std::string encode(const Service& service);
  static std::string encode(const Policy& policy);

 private:
  std::string bytes_;
  protozero::pbf_writer writer_{bytes_};
};

/// 4 or 16 bytes, as the schema has them.
inline std::string encode(const Ip& ip) {
  const auto* from = reinterpret_cast<const char*>(ip.bytes.data());
  return ip.isV4() ? std::string(from + 12, 4) : std::string(from, 16);
}

inline std::string encode(const Cidr& entry) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  out.add_bytes(1, encode(entry.ip));
  out.add_uint32(2, entry.length);
  return bytes;
}

inline void encodePorts(protozero::pbf_writer& out, uint32_t tag,
                        const std::vector<PortMap>& ports) {
  for (const PortMap& port : ports) {
    protozero::pbf_writer map(out, tag);
    map.add_uint32(1, port.servicePort);
    map.add_uint32(2, port.targetPort);
  }
}

inline std::string DeltaWriter::encode(const Workload& workload) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  out.add_string(1, workload.uid);
  out.add_string(2, workload.name);
  out.add_string(3, workload.namespaceName);
  out.add_string(4, workload.serviceAccount);
  out.add_string(5, workload.trustDomain);
  for (const Ip& ip : workload.addresses) {
    out.add_bytes(6, proxy::encode(ip));
  }
  out.add_string(7, workload.node);
  out.add_enum(8, workload.hbone ? 1 : 0);
  for (const std::string& policy : workload.policies) {
    out.add_string(9, policy);
  }
  for (const ServiceBinding& binding : workload.services) {
    protozero::pbf_writer inner(out, 10);
    inner.add_string(1, binding.service);
    encodePorts(inner, 2, binding.ports);
  }
  out.add_bool(11, workload.healthy);
  out.add_string(12, workload.canonicalName);
  out.add_string(13, workload.canonicalRevision);
  out.add_string(14, workload.workloadName);
  out.add_string(15, workload.workloadType);
  out.add_string(16, workload.cluster);
  out.add_bool(17, workload.hostNetwork);
  out.add_string(18, workload.locality.region);
  out.add_string(19, workload.locality.zone);
  out.add_string(20, workload.locality.subzone);
  out.add_string(21, workload.network);
  out.add_uint32(22, workload.capacity);
  out.add_bool(23, workload.waypoint);
  out.add_string(24, workload.hostname);
  return bytes;
}

inline std::string DeltaWriter::encode(const Service& service) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  out.add_string(1, service.key);
  out.add_string(2, service.name);
  out.add_string(3, service.namespaceName);
  out.add_string(4, service.hostname);
  for (const Vip& vip : service.addresses) {
    protozero::pbf_writer inner(out, 5);
    inner.add_message(1, proxy::encode(vip.range));
    inner.add_string(2, vip.network);
  }
  encodePorts(out, 6, service.ports);
  for (const std::string& name : service.subjectAltNames) {
    out.add_string(7, name);
  }
  {
    protozero::pbf_writer inner(out, 8);
    std::vector<int32_t> preference;
    for (const Nearness one : service.loadBalancing.preference) {
      preference.push_back(static_cast<int32_t>(one));
    }
    inner.add_packed_enum(1, preference.begin(), preference.end());
    inner.add_enum(2, static_cast<int32_t>(service.loadBalancing.mode));
    inner.add_bool(3, service.loadBalancing.allowUnhealthy);
  }
  out.add_bool(9, service.ownNamespaceOnly);
  out.add_enum(10, static_cast<int32_t>(service.families));
  out.add_bool(11, service.canonical);
  out.add_bool(12, service.waypoint);
  return bytes;
}

/// An address of a service in the default network.
inline Vip vip(std::string_view ip) {
  const Ip parsed = *Ip::parse(ip);
  return {{parsed, parsed.isV4() ? uint8_t{32} : uint8_t{128}}, ""};
}

// Messages are encoded to strings first: a nested pbf_writer leaves out an empty message, and an
// empty rule is not the same as none.
inline std::string encode(const StringMatch& entry) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  if (entry.kind == StringMatch::Kind::kPresence) {
    out.add_bool(4, true);
  } else {
    out.add_string(static_cast<uint32_t>(entry.kind) + 1, entry.text);
  }
  return bytes;
}

inline std::string encode(const ServiceAccountMatch& entry) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  out.add_string(1, entry.namespaceName);
  out.add_string(2, entry.name);
  return bytes;
}

inline std::string encode(const PolicyMatch& match) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  const auto each = [&](uint32_t tag, const auto& entries) {
    for (const auto& entry : entries) {
      out.add_message(tag, encode(entry));
    }
  };
  each(1, match.namespaces);
  each(2, match.notNamespaces);
  each(3, match.principals);
  each(4, match.notPrincipals);
  each(5, match.sourceIps);
  each(6, match.notSourceIps);
  each(7, match.destinationIps);
  each(8, match.notDestinationIps);
  out.add_packed_uint32(9, match.destinationPorts.begin(), match.destinationPorts.end());
  out.add_packed_uint32(10, match.notDestinationPorts.begin(), match.notDestinationPorts.end());
  each(11, match.serviceAccounts);
  each(12, match.notServiceAccounts);
  return bytes;
}

inline std::string encode(const PolicyClause& clause) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  for (const PolicyMatch& match : clause.matches) {
    out.add_message(1, encode(match));
  }
  return bytes;
}

inline std::string encode(const PolicyRule& rule) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  for (const PolicyClause& clause : rule.clauses) {
    out.add_message(1, encode(clause));
  }
  return bytes;
}

inline std::string DeltaWriter::encode(const Policy& policy) {
  std::string bytes;
  protozero::pbf_writer out(bytes);
  out.add_string(1, policy.key);
  out.add_string(2, policy.namespaceName);
  out.add_enum(3, static_cast<int32_t>(policy.scope));
  out.add_enum(4, static_cast<int32_t>(policy.action));
  for (const PolicyRule& rule : policy.rules) {
    out.add_message(5, proxy::encode(rule));
  }
  out.add_bool(6, policy.dryRun);
  return bytes;
}

}  // namespace weft::proxy
