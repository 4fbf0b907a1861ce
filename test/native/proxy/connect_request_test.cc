// SPDX-License-Identifier: Apache-2.0
#include "proxy/connect_request.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "http/baggage.h"

namespace weft::proxy {
namespace {

ConnectionInfo info() {
  ConnectionInfo info;
  info.source = {*Ip::parse("10.0.0.1"), 40000};
  info.destination = {*Ip::parse("10.0.0.2"), 8080};
  info.tunnel = {*Ip::parse("10.0.0.2"), 15008};
  return info;
}

http::ConnectRequest requestFor(const ConnectionInfo& info, Random& random) {
  BaggageFields baggage;
  return connectRequestFor(info, baggage, random);
}

std::string headerOf(const http::ConnectRequest& request, const std::string& name) {
  std::string found;
  for (const http::Header& header : request.headers) {
    if (header.name == name) {
      CHECK(found.empty());
      found = header.value;
    }
  }
  return found;
}

TEST_CASE("the authority is the application, not the tunnel's port") {
  Random random(1);
  CHECK(requestFor(info(), random).authority == "10.0.0.2:8080");
  ConnectionInfo six = info();
  six.destination.ip = *Ip::parse("fd00::2");
  CHECK(requestFor(six, random).authority == "[fd00::2]:8080");
}

TEST_CASE("the source workload is told as baggage, and its address as forwarded") {
  auto workload = std::make_shared<Workload>();
  workload->cluster = "Kubernetes";
  workload->namespaceName = "shop";
  workload->workloadName = "web";
  workload->workloadType = "deployment";
  workload->canonicalName = "web-app";
  workload->canonicalRevision = "v1";
  workload->locality = {"here", "a", ""};
  ConnectionInfo known = info();
  known.sourceWorkload = workload;
  Random random(1);
  const auto request = requestFor(known, random);
  CHECK(headerOf(request, "baggage") ==
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,"
        "service.name=web-app,service.version=v1,cloud.region=here,cloud.availability_zone=a");
  CHECK(headerOf(request, "forwarded") == "for=\"10.0.0.1:40000\"");
}

TEST_CASE("a source that is not known has no baggage") {
  Random random(1);
  ConnectionInfo unknown = info();
  CHECK(headerOf(requestFor(unknown, random), "baggage").empty());
  unknown.sourceWorkload = std::make_shared<Workload>();
  for (const http::Header& header : requestFor(unknown, random).headers) {
    CHECK_FALSE(header.value.empty());
  }
}

TEST_CASE("a workload is encoded once, and each other one anew") {
  const auto named = [](const char* name) {
    auto workload = std::make_shared<Workload>();
    workload->workloadName = name;
    return workload;
  };
  const auto web = named("web");
  const auto cart = named("cart");
  BaggageFields baggage;
  REQUIRE(baggage.of(web).size() == 1);
  CHECK(baggage.of(web)[0].name == "baggage");
  const char* text = baggage.of(web)[0].value.data();
  CHECK(baggage.of(web)[0].value.data() == text);
  CHECK(baggage.of(web)[0].value == "k8s.pod.name=web");
  CHECK(baggage.of(cart)[0].value == "k8s.pod.name=cart");
  CHECK(baggage.of(web)[0].value == "k8s.pod.name=web");
  CHECK(baggage.of(nullptr).empty());
}

TEST_CASE("baggage that not everybody takes is not told") {
  const size_t key = std::string("k8s.pod.name=").size();
  auto longest = std::make_shared<Workload>();
  longest->workloadName = std::string(kBaggageBytesMax - key, 'x');
  auto longer = std::make_shared<Workload>();
  longer->workloadName = longest->workloadName + "x";
  BaggageFields baggage;
  REQUIRE(baggage.of(longest).size() == 1);
  CHECK(baggage.of(longest)[0].value.size() == kBaggageBytesMax);
  CHECK(baggage.of(longer).empty());
}

TEST_CASE("every request has a trace parent of its own, well formed and not sampled") {
  Random random(1);
  std::set<std::string> seen;
  for (int i = 0; i < 100; i++) {
    const std::string text = headerOf(requestFor(info(), random), "traceparent");
    // W3C Trace Context: version, 16 bytes of trace, 8 of parent, flags.
    REQUIRE(text.size() == 55);
    CHECK(text.substr(0, 3) == "00-");
    CHECK(text[35] == '-');
    CHECK(text.substr(52) == "-00");
    CHECK(text.find_first_not_of("0123456789abcdef-") == std::string::npos);
    CHECK(text.substr(36, 16) != std::string(16, '0'));
    seen.insert(text);
  }
  CHECK(seen.size() == 100);
}

}  // namespace
}  // namespace weft::proxy
