// SPDX-License-Identifier: Apache-2.0
#include "proxy/route.h"

#include <algorithm>
#include <optional>

#include "proxy/settings.h"

namespace weft::proxy {
namespace {

/// 0 when the map names no port.
uint16_t targetPortOf(std::span<const PortMap> ports, uint16_t servicePort) {
  const auto found = std::find_if(ports.begin(), ports.end(),
                                  [&](const PortMap& p) { return p.servicePort == servicePort; });
  return found == ports.end() ? uint16_t{0} : found->targetPort;
}

/// The workload's address in the family asked for; its first one otherwise.
std::optional<Ip> addressOf(const Workload& workload, bool v4) {
  const auto& all = workload.addresses;
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Ip& ip) { return ip.isV4() == v4; });
  if (found != all.end()) {
    return *found;
  }
  return all.empty() ? std::nullopt : std::optional(all.front());
}

Route refuse(std::string detail) {
  Route route;
  route.detail = std::move(detail);
  return route;
}

Route passthrough(const Endpoint& target, std::string detail) {
  Route route;
  route.kind = Route::Kind::kPassthrough;
  route.target = target;
  route.detail = std::move(detail);
  return route;
}

Route toWorkload(std::shared_ptr<const Workload> workload, const Endpoint& target,
                 std::span<const std::string> alternativeNames) {
  Route route;
  route.target = target;
  route.workload = std::move(workload);
  if (!route.workload->hbone) {
    route.kind = Route::Kind::kPassthrough;
    route.detail = "the destination workload is not enrolled";
    return route;
  }
  std::vector<std::string> names{route.workload->spiffeId()};
  names.insert(names.end(), alternativeNames.begin(), alternativeNames.end());
  for (const std::string& name : names) {
    Result<tls::SpiffeId> id = tls::parseSpiffeId(name);
    if (!id.ok()) {
      return refuse("the destination's identity does not parse: " + id.status().message());
    }
    route.expected.push_back(std::move(id).value());
  }
  route.kind = Route::Kind::kTunnel;
  route.tunnel = {target.ip, kHbonePort};
  route.detail = "the destination workload is enrolled";
  return route;
}

Route toService(const Tables& tables, const Service& service, const Endpoint& destination,
                Random& random) {
  struct Candidate {
    const ServiceEndpoint* endpoint;
    uint16_t port;
  };
  std::vector<Candidate> usable;
  bool healthy = false;
  const uint16_t common = targetPortOf(service.ports, destination.port);
  for (const ServiceEndpoint& endpoint : tables.endpointsOf(service.key)) {
    if (!endpoint.workload->healthy || endpoint.workload->addresses.empty()) {
      continue;
    }
    healthy = true;
    const uint16_t own = targetPortOf(endpoint.binding->ports, destination.port);
    if (own != 0 || common != 0) {
      usable.push_back({&endpoint, own != 0 ? own : common});
    }
  }
  if (usable.empty()) {
    return refuse("service " + service.key +
                  (healthy ? " has no port " + std::to_string(destination.port)
                           : " has no healthy endpoint"));
  }
  const Candidate& picked = usable[random.below(usable.size())];
  const auto& workload = picked.endpoint->workload;
  const std::optional<Ip> ip = addressOf(*workload, destination.ip.isV4());
  Route route = toWorkload(workload, {*ip, picked.port}, service.subjectAltNames);
  route.service = service.key;
  return route;
}

}  // namespace

uint64_t Random::next() {
  // splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

Route decideRoute(const Tables& tables, const Workload& source, const Endpoint& destination,
                  Random& random) {
  if (const auto service = tables.serviceByVip(destination.ip)) {
    return toService(tables, *service, destination, random);
  }
  const auto workload = tables.workloadByIp(destination.ip);
  if (workload == nullptr) {
    return passthrough(destination, "the destination is not in the mesh");
  }
  if (workload->uid == source.uid) {
    return passthrough(destination, "the destination is the source itself");
  }
  return toWorkload(workload, destination, {});
}

}  // namespace weft::proxy
