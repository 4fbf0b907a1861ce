// SPDX-License-Identifier: Apache-2.0
#include "http/baggage.h"

#include <doctest/doctest.h>

#include <string>

using weft::http::encodeBaggage;

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

TEST_CASE("every workload type has its key") {
  for (const std::string type : {"deployment", "cronjob", "pod", "job"}) {
    CHECK(encodeBaggage({"", "", "w", type, "", "", "", ""}) == "k8s." + type + ".name=w");
  }
}

TEST_CASE("the forwarded address is quoted") {
  CHECK(weft::http::encodeForwarded("[fd00::1]:43210") == "for=\"[fd00::1]:43210\"");
}
