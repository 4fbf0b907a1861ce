// SPDX-License-Identifier: Apache-2.0
#include "proxy/direct_policy.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "proxy/route.h"

namespace weft::proxy {
namespace {

/// A port that no policy names stands for all of these. `ports` are sorted; of all that there are,
/// 0 is left.
uint16_t otherThan(const std::vector<uint16_t>& ports) {
  uint16_t port = 1;
  for (const uint16_t named : ports) {
    port = static_cast<uint16_t>(port + (named == port ? 1 : 0));
  }
  return port;
}

/// One pair of pods.
class Pair {
 public:
  Pair(const Tables& tables, const Workload& source, const Workload& destination)
      : tables_(tables), source_(source), destination_(destination) {}

  /// Nothing where the kernel cannot say: a way past the tunnel, or addresses that differ.
  std::optional<bool> allows(uint16_t port) const {
    std::optional<bool> all;
    for (const Ip& to : destination_.addresses) {
      for (const Ip& from : source_.addresses) {
        if (from.isV4() != to.isV4()) {
          continue;
        }
        const bool allowed = tables_.authorize(destination_, {spiffeId_, from, to, port}).allowed;
        if (all.value_or(allowed) != allowed) {
          return std::nullopt;
        }
        all = allowed;
      }
    }
    return all;
  }

  bool isTunnelled(uint16_t port) const {
    return std::all_of(destination_.addresses.begin(), destination_.addresses.end(),
                       [&](const Ip& ip) {
                         const Way way = wayOf({tables_, source_, {ip, port}, false, {}});
                         return way.choice == nullptr && way.route.kind == Route::Kind::kTunnel &&
                                way.route.workload.get() == &destination_;
                       });
  }

 private:
  const Tables& tables_;
  const Workload& source_;
  const Workload& destination_;
  const std::string spiffeId_ = source_.spiffeId();
};

}  // namespace

std::vector<io::DirectVerdict> directVerdicts(const Tables& tables, const LocalPod& destination,
                                              const std::vector<LocalPod>& sources) {
  std::vector<io::DirectVerdict> rows;
  const auto to = tables.workloadByUid(destination.workloadUid);
  if (to == nullptr || to->spiffeId() != destination.spiffeId || destination.expiresNs == 0) {
    return rows;
  }
  std::vector<uint16_t> ports = tables.policyPorts(*to);
  const uint16_t other = otherThan(ports);
  for (const LocalPod& source : sources) {
    const auto from = tables.workloadByUid(source.workloadUid);
    if (from == nullptr || source.netns == destination.netns || source.expiresNs == 0 ||
        from->spiffeId() != source.spiffeId) {
      continue;
    }
    const Pair pair(tables, *from, *to);
    const std::optional<bool> everywhere = pair.allows(other);
    if (!everywhere.has_value() || !pair.isTunnelled(other)) {
      continue;
    }
    const uint64_t expiresNs = std::min(source.expiresNs, destination.expiresNs);
    rows.push_back({source.netns, 0, *everywhere, expiresNs});
    for (const uint16_t port : ports) {
      const std::optional<bool> here = pair.allows(port);
      if (!here.has_value()) {
        // What is left out would fall under the row for every other port: expired, it is the
        // proxy's.
        rows.push_back({source.netns, port, false, 0});
      } else if (*here != *everywhere) {
        rows.push_back({source.netns, port, *here, expiresNs});
      }
    }
  }
  return rows;
}

std::shared_ptr<const Service> serviceOf(const Tables& tables, const Workload& source,
                                         const io::DirectFlow& flow) {
  const bool isToPod = flow.asked.port == 0 || flow.asked == flow.server;
  return isToPod ? nullptr : tables.serviceByVip(flow.asked.ip, source);
}

bool mayStay(const Tables& tables, const LocalPod& source, const LocalPod& destination,
             const io::DirectFlow& flow) {
  const auto from = tables.workloadByUid(source.workloadUid);
  const auto to = tables.workloadByUid(destination.workloadUid);
  if (from == nullptr || to == nullptr || from->spiffeId() != source.spiffeId ||
      to->spiffeId() != destination.spiffeId || !isEnrolled(*to) || to->waypoint ||
      tables.workloadByIp(flow.server.ip, from->network) != to) {
    return false;
  }
  if (const auto service = serviceOf(tables, *from, flow);
      service != nullptr && service->waypoint) {
    return false;
  }
  return tables.authorize(*to, {source.spiffeId, flow.client.ip, flow.server.ip, flow.server.port})
      .allowed;
}

}  // namespace weft::proxy
