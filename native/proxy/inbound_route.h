// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/ip.h"
#include "proxy/events.h"
#include "proxy/tables.h"

namespace weft::proxy {

/// What HBONE peers are answered. A denial is 401, as they expect, and not 403.
inline constexpr int kStatusOk = 200;
inline constexpr int kStatusBadRequest = 400;
inline constexpr int kStatusUnauthorized = 401;
inline constexpr int kStatusUnavailable = 503;

/// One request of a tunnel that ends in a pod. Everything but `identity` and the addresses is the
/// peer's word.
struct InboundRequest {
  std::string_view method;
  std::string_view authority;
  Endpoint local;             ///< Where in the pod the tunnel ends.
  Ip source;                  ///< The peer's address.
  std::string_view identity;  ///< Proved by the peer's certificate.
};

struct InboundAnswer {
  // Fail-closed by default, in both.
  int status = kStatusUnavailable;
  Endpoint target;  ///< The application; the tunnel's end when the authority led to none.
  Outcome outcome = {Reason::kNoRoute, "not judged", ""};  ///< Why it is refused; clean if not.
  std::string service;                                     ///< key, when the authority names one
};

/// Whether a request may be carried on to an application of `destination`, the pod's own workload
/// (null when the tables do not know it), and to which. Only the pod's own address is taken, or the
/// name and port of a service that the pod is an endpoint of, which means its target port at that
/// address: so no tunnel leads on to somewhere else. Policy decides on the target. Pure. Every
/// doubt refuses.
InboundAnswer validateInbound(const Tables& tables, const Workload* destination,
                              const InboundRequest& request);

/// The same for captured plaintext to `target`: the status is kStatusOk or the outcome says why
/// not.
InboundAnswer validatePlaintext(const Tables& tables, const Workload* destination,
                                const Endpoint& target, const Ip& source);

}  // namespace weft::proxy
