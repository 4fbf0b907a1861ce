// SPDX-License-Identifier: Apache-2.0
#include "http/baggage.h"

#include <doctest/doctest.h>

#include <string>

using weft::http::Baggage;
using weft::http::encodeBaggage;
using weft::http::parseBaggage;

namespace {

bool same(const Baggage& a, const Baggage& b) {
  return a.cluster == b.cluster && a.namespaceName == b.namespaceName &&
         a.workloadName == b.workloadName && a.workloadType == b.workloadType &&
         a.serviceName == b.serviceName && a.serviceVersion == b.serviceVersion &&
         a.region == b.region && a.zone == b.zone;
}

}  // namespace

TEST_CASE("baggage has the keys and the order that HBONE peers use") {
  CHECK(encodeBaggage({"Kubernetes", "shop", "cart", "deployment", "cart", "v2", "r", "z"}) ==
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,"
        "service.name=cart,service.version=v2,cloud.region=r,cloud.availability_zone=z");
}

TEST_CASE("empty values are left out of baggage") {
  CHECK(encodeBaggage({}).empty());
  CHECK(encodeBaggage({"", "shop", "", "job", "", "", "", ""}) == "k8s.namespace.name=shop");
}

TEST_CASE("a workload of unknown type is told as a pod") {
  CHECK(encodeBaggage({"", "", "w", "a=b,c", "", "", "", ""}) == "k8s.pod.name=w");
}

TEST_CASE("what separates members is escaped in a value") {
  CHECK(encodeBaggage({"a,b;c=d\"e\\f %\x7f\xc3", "", "", "", "", "", "", ""}) ==
        "k8s.cluster.name=a%2Cb%3Bc=d%22e%5Cf%20%25%7F%C3");
}

TEST_CASE("baggage survives the way there and back for every workload type") {
  for (const char* type : {"deployment", "cronjob", "pod", "job"}) {
    const Baggage baggage{"c 1", "n,2", "w%3", type, "s;4", "v=5", "r\\6", "z\"7"};
    CHECK(same(parseBaggage(encodeBaggage(baggage)), baggage));
  }
}

TEST_CASE("spaces, properties and unknown keys do not disturb baggage") {
  const Baggage baggage = parseBaggage(
      "cloud.planet=r, k8s.namespace.name =\tshop ;ttl=3;x, service.name= cart,k8s..name=x");
  CHECK(same(baggage, {"", "shop", "", "", "cart", "", "", ""}));
}

TEST_CASE("the first of two members with one key counts") {
  const Baggage baggage = parseBaggage("k8s.pod.name=a,k8s.job.name=b,k8s.pod.name=c");
  CHECK(baggage.workloadName == "a");
  CHECK(baggage.workloadType == "pod");
}

TEST_CASE("a malformed member is ignored, and the others count") {
  for (const char* broken : {"=x", "service.name", "service.name=%", "service.name=%4",
                             "service.name=%4g", "service.name=a\"b", "service.name=a b",
                             "service.name=%0a", "service.name=%ff", "service.name=\xff", ",,,"}) {
    CAPTURE(broken);
    const Baggage baggage = parseBaggage(std::string(broken) + ",service.version=v1");
    CHECK(baggage.serviceName.empty());
    CHECK(baggage.serviceVersion == "v1");
  }
}

TEST_CASE("a member's limit is 8192 bytes") {
  const std::string key = "service.name=";
  CHECK(parseBaggage(key + std::string(8192 - key.size(), 'a')).serviceName.size() ==
        8192 - key.size());
  const Baggage over =
      parseBaggage(key + std::string(8193 - key.size(), 'a') + ",service.version=v");
  CHECK(over.serviceName.empty());
  CHECK(over.serviceVersion == "v");
}

TEST_CASE("no more than 64 members are read") {
  std::string text;
  for (int i = 0; i < 63; i++) {
    text += "x=y,";
  }
  CHECK(parseBaggage(text + "service.name=a").serviceName == "a");
  CHECK(parseBaggage(text + "x=y,service.name=a").serviceName.empty());
}

TEST_CASE("the forwarded address is quoted") {
  CHECK(weft::http::encodeForwarded("[fd00::1]:43210") == "for=\"[fd00::1]:43210\"");
}
