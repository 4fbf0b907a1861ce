// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/balance.h"
#include "proxy/tables.h"
#include "tls/spiffe_id.h"

namespace weft::proxy {

/// Whether a proxy stands in front of the workload, at kHbonePort. One in its node's network has
/// none.
bool isEnrolled(const Workload& workload);

/// The ports that the proxy listens at in a pod.
bool isProxyPort(uint16_t port);

/// Where one outbound connection goes, and why.
struct Route {
  enum class Kind { kTunnel, kPassthrough, kRefuse };
  Kind kind = Kind::kRefuse;  // fail-closed by default
  Endpoint target;  ///< The application: the CONNECT's authority, or the plain destination.
  Endpoint tunnel;  ///< kTunnel: the HBONE listener.
  std::vector<tls::SpiffeId> expected;  ///< kTunnel: identities the peer may have.
  std::shared_ptr<const Workload> workload;
  std::string service;  ///< key, when addressed by VIP
  std::string detail;   ///< Why this route, for a person.
  Lease lease;          ///< Of an endpoint of `service`; to be held as long as the connection.
};

/// One captured connection. Refers to what it is asked about.
struct RouteQuery {
  const Tables& tables;
  const Workload& source;
  Endpoint destination;       ///< As the application asked for it.
  bool registryOnly = false;  ///< Refuse what is not in the mesh, instead of passing it through.
  std::span<const std::string> tried;  ///< Uids of endpoints that already failed it.
  Endpoint picked{};  ///< The endpoint of a service to take, if it may be; port 0: none.
};

/// Why a connection that was routed to `target` of `workload`, as it was then, may not stay: the
/// workload is gone, has another identity or address, or is reached in another way now. Empty when
/// it may stay. `service` is the key of the one it was addressed by, if any. Pure.
std::string whyStale(const Tables& tables, const Workload& workload, const Ip& target,
                     std::string_view service);

/// A route that is decided, or the service one of whose endpoints has to be chosen for it.
struct Way {
  Route route;
  std::shared_ptr<const Service> choice;  ///< Null: the route is decided.
};

/// Everything of a decision that needs no choice. Pure.
Way wayOf(const RouteQuery& query);

/// The route to this endpoint of `service`, without a lease. Pure.
Route routeTo(const Service& service, const Candidate& candidate);

/// Decides where a connection goes: wayOf(), Balancer::pick() and routeTo(). Pure but for the pick
/// among endpoints. Fails closed inside the mesh (no healthy endpoint, no such port, a waypoint in
/// the way, an identity that does not parse: refused) and, unless `registryOnly`, open outside it
/// (an unknown destination passes through in plaintext). A route to an endpoint of a service that
/// fails before a byte was sent may be decided again, kAttemptsMax times in all, with that
/// endpoint's uid among `tried`.
Route decideRoute(const RouteQuery& query, Balancer& balancer, uint64_t nowMs);

}  // namespace weft::proxy
