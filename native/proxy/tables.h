// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/status.h"
#include "proxy/policy.h"

namespace weft::proxy {

// Limits of one delta, and of the table it makes. Past any of them the delta is refused: kLimit.
inline constexpr size_t kDeltaBytesMax = size_t{64} << 20;
inline constexpr size_t kWorkloadsMax = 200'000;
inline constexpr size_t kServicesMax = 50'000;
inline constexpr size_t kPoliciesMax = 50'000;
inline constexpr size_t kKeyBytesMax = 1024;   ///< A uid, a key, or a reference to one.
inline constexpr size_t kTextBytesMax = 2048;  ///< Any other text.
inline constexpr size_t kAddressesMax = 64;    ///< Of a workload or a service.
inline constexpr size_t kPortsMax = 1024;      ///< Of a service or a binding.
inline constexpr size_t kBindingsMax = 1024;   ///< Services of a workload.
inline constexpr size_t kNamedPoliciesMax = 1024;
inline constexpr size_t kPreferencesMax = 16;  ///< Of a service's load balancing.
inline constexpr size_t kSubjectAltNamesMax = 4096;
inline constexpr size_t kPolicyPartsMax = 65'536;  ///< Rules, clauses, matches and entries of one.
inline constexpr size_t kClaimsMax = 1024;         ///< Workloads or services with one address.

struct PortMap {
  uint16_t servicePort = 0;
  uint16_t targetPort = 0;  ///< 0 only in a Service: each endpoint's own binding names the port.
};

struct ServiceBinding {
  std::string service;  ///< key, "namespace/hostname"
  std::vector<PortMap> ports;
};

/// Where a workload runs. An empty part is not known, and near to nothing.
struct Locality {
  std::string region;
  std::string zone;     ///< Within the region.
  std::string subzone;  ///< Within the zone.
};

/// One workload as the control plane describes it. Immutable once in a table.
struct Workload {
  std::string uid;
  std::string name;
  std::string namespaceName;
  std::string serviceAccount;
  std::string trustDomain;
  std::vector<Ip> addresses;
  std::string node;
  bool hbone = false;
  bool healthy = true;
  bool hostNetwork = false;
  std::vector<std::string> policies;
  std::vector<ServiceBinding> services;
  std::string canonicalName;
  std::string canonicalRevision;
  std::string workloadName;
  std::string workloadType;
  std::string cluster;
  Locality locality;
  std::string network;    ///< Where its addresses hold; empty is a network like any other.
  uint32_t capacity = 1;  ///< Its share of a service's connections; 0: takes none.
  bool waypoint = false;  ///< May be addressed through its waypoint only.
  std::string hostname;   ///< Its own name, such as that of a pod of a headless service.

  /// spiffe://<trust domain>/ns/<namespace>/sa/<service account>
  std::string spiffeId() const;
};

/// An address of a service, or a range of them, in one network.
struct Vip {
  Cidr range;  ///< Its host bits are zero.
  std::string network;
};

/// What an endpoint may share with the source of a connection.
enum class Nearness { kRegion = 1, kZone, kSubzone, kNode, kCluster, kNetwork };

struct LoadBalancing {
  enum class Mode {
    kAny,          ///< Every endpoint, whatever it shares with the source.
    kStrict,       ///< Only endpoints that share all of `preference`.
    kFailover,     ///< Those that share the most of it, counted from the first.
    kPassthrough,  ///< The address that was asked for is the destination itself.
  };
  Mode mode = Mode::kAny;
  std::vector<Nearness> preference;
  bool allowUnhealthy = false;
};

struct Service {
  enum class Families { kAutomatic, kIpv4, kIpv6, kDual };

  std::string key;
  std::string name;
  std::string namespaceName;
  std::string hostname;
  std::vector<Vip> addresses;
  std::vector<PortMap> ports;
  std::vector<std::string> subjectAltNames;
  LoadBalancing loadBalancing;
  bool ownNamespaceOnly = false;  ///< Only sources of its namespace are sent to it.
  Families families = Families::kAutomatic;
  bool canonical = false;  ///< Preferred among services that share an address.
  bool waypoint = false;   ///< May be reached through its waypoint only.
};

/// One endpoint of a service: a workload, and the port map that holds for it.
struct ServiceEndpoint {
  std::shared_ptr<const Workload> workload;
  const ServiceBinding* binding = nullptr;  ///< Points into `workload`.
};

/// The endpoints of one service. Never empty.
struct EndpointList {
  std::string service;
  std::vector<ServiceEndpoint> endpoints;
};

struct TablesState;

/// Everything the data plane knows of the mesh, as one immutable value. Built off the byte path;
/// workers hold a shared_ptr and look up without locks. A new table shares all that did not change
/// with the one it was built from.
class Tables {
 public:
  /// Knows nothing, and refuses every connection: no policies were received.
  static std::shared_ptr<const Tables> empty();

  /// `base` with the encoded weft.tables.TablesDelta applied, whole or not at all: kInvalid or
  /// kLimit names the first thing wrong, and `base` stays as it is. Unknown fields, unknown enum
  /// values and a key that occurs twice are refused, not skipped: half a policy is a hole. Removing
  /// what is not there is no error. Any thread; the cost follows the delta, not the table.
  static Result<std::shared_ptr<const Tables>> apply(const std::shared_ptr<const Tables>& base,
                                                     std::span<const uint8_t> delta);

  std::shared_ptr<const Workload> workloadByUid(std::string_view uid) const;
  /// The workload with this address in `network`. Host-network workloads are not found by address:
  /// theirs is the node's. When several claim one address, the one that claimed it last has it, and
  /// an older one gets it back when that goes. A workload that is replaced and keeps an address
  /// keeps its place in that order.
  std::shared_ptr<const Workload> workloadByIp(const Ip& ip, std::string_view network) const;
  /// The service that `source` means by this address: of those in its network that it may see, the
  /// one with the longest prefix; of several with that, one of its own namespace, then a canonical
  /// one, then the one that claimed it last.
  std::shared_ptr<const Service> serviceByVip(const Ip& ip, const Workload& source) const;
  std::shared_ptr<const Service> serviceByKey(std::string_view key) const;
  /// The workloads that name this service, healthy or not, whether or not the service itself is
  /// known yet. Valid as long as this table.
  std::span<const ServiceEndpoint> endpointsOf(std::string_view serviceKey) const;
  /// The same as the list that newer tables share until it changes; null when there are none.
  std::shared_ptr<const EndpointList> endpointListOf(std::string_view serviceKey) const;

  /// Decides one connection to `destination`, by the global policies, those of its namespace and
  /// those it names. A DENY that matches refuses; then a named policy that is not known, or no
  /// policies received at all, refuses (fail-closed); without an ALLOW policy the connection is
  /// allowed; with some, one of them has to match. Dry-run policies never count.
  Verdict authorize(const Workload& destination, const PolicySubject& subject) const;

  /// The ports that policies for `destination` name, each once, in order: at all others authorize()
  /// says the same.
  std::vector<uint16_t> policyPorts(const Workload& destination) const;

  bool policiesReceived() const;
  size_t workloadCount() const;
  size_t serviceCount() const;
  size_t policyCount() const;
  /// Rises by one with each table that can decide otherwise than the one before: a policy changed,
  /// came or went, so did a workload's list of policies (none for a workload that is not there) or
  /// its namespace, or the first policies were received.
  uint64_t policyEpoch() const;

  /// Rises by one with each table that may end a connection which was already routed: a workload
  /// went, or changed its identity, its address or the way it is reached, or a service did the
  /// last. Not by what is new.
  uint64_t routeEpoch() const;

  /// How many of this table's parts there are, and how many are the same memory in `other`.
  struct Sharing {
    size_t parts = 0;
    size_t shared = 0;
  };
  Sharing sharingWith(const Tables& other) const;

 private:
  explicit Tables(std::shared_ptr<const TablesState> state);
  std::shared_ptr<const TablesState> state_;
};

}  // namespace weft::proxy
