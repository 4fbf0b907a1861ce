// SPDX-License-Identifier: Apache-2.0
#include "proxy/connect_request.h"

#include <cinttypes>
#include <cstdio>
#include <utility>

#include "http/baggage.h"

namespace weft::proxy {
namespace {

std::string newTraceparent(Random& random) {
  char text[64];
  std::snprintf(text, sizeof text, "00-%016" PRIx64 "%016" PRIx64 "-%016" PRIx64 "-00",
                random.next(), random.next(), random.next() | 1);
  return text;
}

}  // namespace

const std::vector<http::Header>& BaggageFields::of(
    const std::shared_ptr<const Workload>& workload) {
  if (workload == workload_) {
    return fields_;
  }
  workload_ = workload;
  fields_.clear();
  if (workload != nullptr) {
    std::string text = http::encodeBaggage({.cluster = workload->cluster,
                                            .namespaceName = workload->namespaceName,
                                            .workloadName = workload->workloadName,
                                            .workloadType = workload->workloadType,
                                            .serviceName = workload->canonicalName,
                                            .serviceVersion = workload->canonicalRevision,
                                            .region = workload->locality.region,
                                            .zone = workload->locality.zone});
    if (!text.empty() && text.size() <= kBaggageBytesMax) {
      fields_.push_back({"baggage", std::move(text)});
    }
  }
  return fields_;
}

http::ConnectRequest connectRequestFor(const ConnectionInfo& info, BaggageFields& baggage,
                                       Random& random) {
  http::ConnectRequest request;
  request.authority = info.destination.toString();
  request.headers = baggage.of(info.sourceWorkload);
  request.headers.push_back({"forwarded", http::encodeForwarded(info.source.toString())});
  request.headers.push_back({"traceparent", newTraceparent(random)});
  return request;
}

}  // namespace weft::proxy
