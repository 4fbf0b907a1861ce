// SPDX-License-Identifier: Apache-2.0
#include "proxy/explain.h"

#include <algorithm>
#include <utility>

namespace weft::proxy {
namespace {

using Kind = Route::Kind;

/// The address by which `destination` sees the source.
Ip sourceIpFor(const Workload& source, const Ip& destination) {
  const auto& all = source.addresses;
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const Ip& ip) { return ip.isV4() == destination.isV4(); });
  return found != all.end() ? *found : all.empty() ? Ip{} : all.front();
}

/// What the far end says of a connection that takes this route.
void askPolicy(const Tables& tables, const Workload& source, Explanation::Endpoint& endpoint) {
  const Route& route = endpoint.route;
  endpoint.checked = route.kind != Kind::kRefuse && route.workload != nullptr &&
                     isEnrolled(*route.workload) && route.workload->uid != source.uid;
  if (!endpoint.checked) {
    return;
  }
  const std::string identity = route.kind == Kind::kTunnel ? source.spiffeId() : "";
  endpoint.verdict = tables.authorize(
      *route.workload,
      {identity, sourceIpFor(source, route.target.ip), route.target.ip, route.target.port});
}

/// What the proxy never sees goes out as the application sent it.
void uncapture(const RouteQuery& query, Route& route) {
  if (route.target == weft::Endpoint{}) {
    route.target = query.destination;
    route.workload = query.tables.workloadByIp(query.destination.ip, query.source.network);
  }
  route.kind = Kind::kPassthrough;
  route.expected.clear();
  route.tunnel = {};
}

/// The routes to the nearest endpoints of `way.choice`, or the reason why there is none.
void addEndpoints(const RouteQuery& query, const Way& way, Explanation& out) {
  const Service& service = *way.choice;
  std::vector<Candidate> candidates =
      candidatesOf({query.tables, way.choice, query.source, query.destination, {}}, out.why);
  uint32_t best = 0;
  for (const Candidate& candidate : candidates) {
    best = std::max(best, candidate.rank);
  }
  std::erase_if(candidates, [&](const Candidate& one) { return one.rank < best; });
  out.endpointsTotal = candidates.size();
  candidates.resize(std::min(candidates.size(), kExplainedEndpointsMax));
  for (const Candidate& candidate : candidates) {
    out.endpoints.push_back({routeTo(service, candidate), false, false, {}});
  }
}

}  // namespace

Result<Explanation> explain(const Tables& tables, std::string_view sourceUid,
                            const weft::Endpoint& destination, bool registryOnly) {
  const auto source = tables.workloadByUid(sourceUid);
  if (source == nullptr) {
    return Status(Code::kInvalid, "workload " + std::string(sourceUid) + " is not known");
  }
  const RouteQuery query{tables, *source, destination, registryOnly, {}};
  Way way = wayOf(query);
  Explanation out;
  out.service = way.choice == nullptr ? way.route.service : way.choice->key;
  if (way.choice != nullptr) {
    addEndpoints(query, way, out);
  } else {
    out.why = way.route.detail;
    out.endpoints.push_back({std::move(way.route), false, false, {}});
    out.endpointsTotal = 1;
  }
  out.captured = isEnrolled(*source);
  for (Explanation::Endpoint& endpoint : out.endpoints) {
    if (!out.captured) {
      uncapture(query, endpoint.route);
    }
    askPolicy(tables, *source, endpoint);
  }
  if (!out.endpoints.empty()) {
    const Route& first = out.endpoints.front().route;
    out.path = first.kind;
    out.why = first.detail;
  }
  if (!out.captured) {
    out.path = Kind::kPassthrough;
    out.why = source->hostNetwork
                  ? "the source is in its node's network, where connections are not captured"
                  : "the source is not enrolled: its connections are not captured";
  }
  const bool tunnelled =
      std::any_of(out.endpoints.begin(), out.endpoints.end(),
                  [](const auto& endpoint) { return endpoint.route.kind == Kind::kTunnel; });
  out.sourceIdentity = tunnelled ? source->spiffeId() : "";
  return out;
}

}  // namespace weft::proxy
