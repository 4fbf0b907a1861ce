// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound_route.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "http/authority.h"
#include "proxy/balance.h"
#include "proxy/route.h"

namespace weft::proxy {
namespace {

InboundAnswer refuse(int status, const Endpoint& target, Reason reason, std::string detail) {
  return {status, target, {reason, std::move(detail), ""}, ""};
}

/// `name` is in lower case.
bool isHostOf(std::string_view key, std::string_view name) {
  const std::string_view host = key.substr(std::min(key.find('/') + 1, key.size()));
  return std::equal(host.begin(), host.end(), name.begin(), name.end(), [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + ('a' - 'A')) : a) == b;
  });
}

/// What a name and port mean in the pod of `destination`.
struct Named {
  std::shared_ptr<const Service> service;  ///< Null when no service of that name leads to the pod.
  uint16_t port = 0;                       ///< 0 when that service has no such port.
};

/// Names are unique in a namespace only: of several services that the pod is an endpoint of, that
/// of its own namespace is meant, else the first of its bindings.
Named resolve(const Tables& tables, const Workload& destination, const http::Authority& authority) {
  Named found;
  for (const ServiceBinding& binding : destination.services) {
    if (!isHostOf(binding.service, authority.host)) {
      continue;
    }
    auto service = tables.serviceByKey(binding.service);
    const bool own = service != nullptr && service->namespaceName == destination.namespaceName;
    if (service != nullptr && (own || found.service == nullptr)) {
      found = {service, targetPortOf(*service, binding, authority.port)};
    }
    if (own) {
      break;
    }
  }
  return found;
}

InboundAnswer authorize(const Tables& tables, const Workload* destination, const Endpoint& target,
                        const PolicySubject& subject) {
  if (isProxyPort(target.port)) {
    return refuse(kStatusUnavailable, target, Reason::kNoRoute,
                  "port " + std::to_string(target.port) + " is the proxy's own");
  }
  if (destination == nullptr) {
    return refuse(kStatusUnavailable, target, Reason::kNoRoute, "the pod's workload is not known");
  }
  Verdict verdict = tables.authorize(*destination, subject);
  if (!verdict.allowed) {
    return {kStatusUnauthorized,
            target,
            {Reason::kDenied, std::move(verdict.reason), std::move(verdict.policy)},
            ""};
  }
  return {kStatusOk, target, {}, ""};
}

/// A request for a service by its name, as it comes through a gateway of another network.
InboundAnswer validateName(const Tables& tables, const Workload* destination,
                           const InboundRequest& request, const http::Authority& authority) {
  const Named named = destination == nullptr ? Named{} : resolve(tables, *destination, authority);
  if (destination != nullptr && named.port == 0) {
    return refuse(kStatusUnavailable, request.local, Reason::kNoRoute,
                  named.service == nullptr ? "this pod is no endpoint of " + authority.host
                                           : "service " + named.service->key + " has no port " +
                                                 std::to_string(authority.port) + " at this pod");
  }
  const Endpoint target{request.local.ip, named.port};
  InboundAnswer answer = authorize(tables, destination, target,
                                   {request.identity, request.source, target.ip, target.port});
  answer.service = named.service == nullptr ? "" : named.service->key;
  return answer;
}

}  // namespace

InboundAnswer validateInbound(const Tables& tables, const Workload* destination,
                              const InboundRequest& request) {
  if (request.method != "CONNECT") {
    return refuse(kStatusBadRequest, request.local, Reason::kBadRequest,
                  "the method is not CONNECT");
  }
  const Result<http::Authority> parsed = http::parseAuthority(request.authority);
  if (!parsed.ok()) {
    return refuse(kStatusBadRequest, request.local, Reason::kBadRequest, parsed.status().message());
  }
  const http::Authority& authority = parsed.value();
  if (!authority.ip.has_value()) {
    return validateName(tables, destination, request, authority);
  }
  const Endpoint target{*authority.ip, authority.port};
  if (target.ip != request.local.ip) {
    return refuse(kStatusBadRequest, target, Reason::kBadRequest,
                  "the authority is not this pod's address");
  }
  return authorize(tables, destination, target,
                   {request.identity, request.source, target.ip, target.port});
}

InboundAnswer validatePlaintext(const Tables& tables, const Workload* destination,
                                const Endpoint& target, const Ip& source) {
  return authorize(tables, destination, target, {{}, source, target.ip, target.port});
}

}  // namespace weft::proxy
