// SPDX-License-Identifier: Apache-2.0
#include "proxy/route.h"

#include <algorithm>
#include <utility>

#include "proxy/settings.h"

namespace weft::proxy {
namespace {

/// A connection to one of our own ports, or to loopback, was not meant for capture: carrying it on
/// would connect the proxy to itself.
bool wouldLoop(const Endpoint& to) {
  return to.ip.isLoopback() || to.ip.isAny() || isProxyPort(to.port);
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
  if (wouldLoop(target)) {
    return refuse(target.toString() + " is the proxy itself");
  }
  if (!isEnrolled(*route.workload)) {
    route.kind = Route::Kind::kPassthrough;
    route.detail = route.workload->hostNetwork ? "the destination workload is in its node's network"
                                               : "the destination workload is not enrolled";
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

/// To the address itself: a workload of the mesh, or something outside of it. `service` is the one
/// that passes its addresses through, if any does.
Route toAddress(const RouteQuery& query, const Service* service) {
  const Endpoint& destination = query.destination;
  const auto workload = query.tables.workloadByIp(destination.ip, query.source.network);
  if (workload == nullptr) {
    if (service != nullptr) {
      return passthrough(destination, "the service leaves its addresses to the network");
    }
    return query.registryOnly ? refuse("the destination is not in the mesh")
                              : passthrough(destination, "the destination is not in the mesh");
  }
  if (workload->uid == query.source.uid) {
    return passthrough(destination, "the destination is the source itself");
  }
  if (workload->waypoint) {
    return refuse("the destination workload may be reached through its waypoint only");
  }
  return toWorkload(workload, destination,
                    service == nullptr ? std::span<const std::string>() : service->subjectAltNames);
}

}  // namespace

bool isEnrolled(const Workload& workload) {
  return workload.hbone && !workload.hostNetwork;
}

bool isProxyPort(uint16_t port) {
  return port == kOutboundPort || port == kPlaintextPort || port == kHbonePort;
}

std::string whyStale(const Tables& tables, const Workload& workload, const Ip& target,
                     std::string_view service) {
  if (!service.empty()) {
    const auto by = tables.serviceByKey(service);
    if (by != nullptr && by->waypoint) {
      return "the service may be reached through its waypoint only";
    }
  }
  const auto now = tables.workloadByUid(workload.uid);
  if (now.get() == &workload) {
    return "";
  }
  if (now == nullptr) {
    return "the destination workload is gone";
  }
  const auto& addresses = now->addresses;
  if (std::find(addresses.begin(), addresses.end(), target) == addresses.end() ||
      now->network != workload.network) {
    return "the destination workload has another address";
  }
  if (now->spiffeId() != workload.spiffeId()) {
    return "the destination workload has another identity";
  }
  if (isEnrolled(*now) != isEnrolled(workload)) {
    return isEnrolled(*now) ? "the destination workload was enrolled"
                            : "the destination workload is no longer enrolled";
  }
  return service.empty() && now->waypoint
             ? "the destination workload may be reached through its waypoint only"
             : "";
}

Way wayOf(const RouteQuery& query) {
  Way way;
  if (wouldLoop(query.destination)) {
    way.route = refuse(query.destination.toString() + " is the proxy itself");
    return way;
  }
  const auto service = query.tables.serviceByVip(query.destination.ip, query.source);
  if (service == nullptr) {
    way.route = toAddress(query, nullptr);
    return way;
  }
  if (service->waypoint) {
    way.route = refuse("service " + service->key + " may be reached through its waypoint only");
  } else if (service->loadBalancing.mode == LoadBalancing::Mode::kPassthrough) {
    way.route = toAddress(query, service.get());
  } else {
    way.choice = service;
  }
  way.route.service = service->key;
  return way;
}

Route routeTo(const Service& service, const Candidate& candidate) {
  Route route = toWorkload(candidate.endpoint->workload, candidate.target, service.subjectAltNames);
  route.service = service.key;
  return route;
}

Route decideRoute(const RouteQuery& query, Balancer& balancer, uint64_t nowMs) {
  Way way = wayOf(query);
  if (way.choice == nullptr) {
    return std::move(way.route);
  }
  Balancer::Pick pick = balancer.pick(
      {query.tables, way.choice, query.source, query.destination, query.tried, query.picked},
      nowMs);
  if (pick.candidate.endpoint == nullptr) {
    Route refused = refuse(std::move(pick.why));
    refused.service = way.choice->key;
    return refused;
  }
  Route route = routeTo(*way.choice, pick.candidate);
  if (route.kind != Route::Kind::kRefuse) {
    route.lease = std::move(pick.lease);
  }
  return route;
}

}  // namespace weft::proxy
