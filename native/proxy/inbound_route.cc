// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound_route.h"

#include <utility>

#include "http/authority.h"
#include "proxy/route.h"

namespace weft::proxy {
namespace {

InboundAnswer refuse(int status, const Endpoint& target, Reason reason, std::string detail) {
  return {status, target, {reason, std::move(detail), ""}};
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
            {Reason::kDenied, std::move(verdict.reason), std::move(verdict.policy)}};
  }
  return {kStatusOk, target, {}};
}

}  // namespace

InboundAnswer validateInbound(const Tables& tables, const Workload* destination,
                              const InboundRequest& request) {
  if (request.method != "CONNECT") {
    return refuse(kStatusBadRequest, request.local, Reason::kBadRequest,
                  "the method is not CONNECT");
  }
  const Result<Endpoint> authority = http::parseAuthority(request.authority);
  if (!authority.ok()) {
    return refuse(kStatusBadRequest, request.local, Reason::kBadRequest,
                  authority.status().message());
  }
  const Endpoint& target = authority.value();
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
