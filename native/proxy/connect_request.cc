// SPDX-License-Identifier: Apache-2.0
#include "proxy/connect_request.h"

#include <cinttypes>
#include <cstdio>

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

http::ConnectRequest connectRequestFor(const ConnectionInfo& info, Random& random) {
  http::ConnectRequest request;
  request.authority = info.destination.toString();
  if (const auto& w = info.sourceWorkload) {
    const std::string baggage = http::encodeBaggage({.cluster = w->cluster,
                                                     .namespaceName = w->namespaceName,
                                                     .workloadName = w->workloadName,
                                                     .workloadType = w->workloadType,
                                                     .serviceName = w->canonicalName,
                                                     .serviceVersion = w->canonicalRevision});
    if (!baggage.empty()) {
      request.headers.push_back({"baggage", baggage});
    }
  }
  request.headers.push_back({"forwarded", http::encodeForwarded(info.source.toString())});
  request.headers.push_back({"traceparent", newTraceparent(random)});
  return request;
}

}  // namespace weft::proxy
