// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace weft::http {

/// The workload facts that HBONE peers tell each other in the `baggage` header (W3C Baggage; keys
/// as in Istio: k8s.cluster.name, k8s.namespace.name, k8s.deployment.name, service.name,
/// service.version, cloud.region, cloud.availability_zone). For labels only: never for identity or
/// policy.
struct Baggage {
  std::string cluster;
  std::string namespaceName;
  std::string workloadName;
  std::string workloadType;  ///< "deployment", "cronjob", "pod" or "job"
  std::string serviceName;
  std::string serviceVersion;
  std::string region;
  std::string zone;
};

/// Empty values are left out; values are percent-encoded where W3C Baggage demands it.
std::string encodeBaggage(const Baggage& baggage);
/// RFC 7239: for="10.0.0.1:43210" with the address quoted.
std::string encodeForwarded(std::string_view address);

}  // namespace weft::http
