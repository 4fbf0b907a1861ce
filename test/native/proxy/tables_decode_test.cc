// SPDX-License-Identifier: Apache-2.0
#include "proxy/tables_decode.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "delta_writer.h"

namespace weft::proxy {
namespace {

using protozero::pbf_writer;

Workload workload(std::string uid) {
  Workload workload;
  workload.uid = std::move(uid);
  workload.namespaceName = "shop";
  return workload;
}

Service service(std::string key) {
  Service service;
  service.key = std::move(key);
  return service;
}

Policy policy(std::string key) {
  Policy policy;
  policy.key = std::move(key);
  policy.namespaceName = "shop";
  return policy;
}

Result<TablesDelta> decode(const DeltaWriter& writer) {
  return decodeTablesDelta(writer.bytes());
}

/// The status of a delta of one entry: field `tag`, with a good key and then what `write` adds.
template <typename Write>
Status entryStatus(uint32_t tag, Write write) {
  std::string bytes;
  pbf_writer out(bytes);
  out.add_string(1, "key");
  if (tag == 1) {
    out.add_string(3, "shop");
  }
  write(out);
  DeltaWriter writer;
  writer.message(tag, bytes);
  return decode(writer).status();
}

template <typename Write>
Status workloadStatus(Write write) {
  return entryStatus(1, write);
}

template <typename Write>
Status serviceStatus(Write write) {
  return entryStatus(3, write);
}

void addVip(pbf_writer& out, const std::string& address, uint32_t length) {
  pbf_writer vip(out, 5);
  pbf_writer range(vip, 1);
  range.add_bytes(1, address);
  range.add_uint32(2, length);
}

Status vipStatus(const std::string& address, uint32_t length) {
  return serviceStatus([&](pbf_writer& out) { addVip(out, address, length); });
}

TEST_CASE("a delta without bytes is good and changes nothing") {
  const auto delta = decodeTablesDelta({});
  REQUIRE(delta.ok());
  CHECK(delta.value().workloads.empty());
  CHECK_FALSE(delta.value().policiesReceived);
}

TEST_CASE("every field of a workload arrives") {
  Workload in = workload("Kubernetes//Pod/shop/cart");
  in.name = "cart";
  in.serviceAccount = "cart-sa";
  in.trustDomain = "cluster.local";
  in.addresses = {*Ip::parse("10.0.0.1"), *Ip::parse("fd00::1")};
  in.node = "n1";
  in.hbone = true;
  in.healthy = true;
  in.hostNetwork = true;
  in.policies = {"shop/a", "shop/b"};
  in.services = {{"shop/cart.shop.svc.cluster.local", {{80, 8080}, {65535, 1}}}};
  in.canonicalName = "cart";
  in.canonicalRevision = "v2";
  in.workloadName = "cart-deploy";
  in.workloadType = "deployment";
  in.cluster = "Kubernetes";
  in.locality = {"eu", "eu-1", "rack-7"};
  in.network = "west";
  in.capacity = 0;
  in.waypoint = true;
  in.hostname = "cart-0.cart.shop.svc.cluster.local";
  DeltaWriter writer;
  writer.add(in);
  const auto delta = decode(writer);
  REQUIRE(delta.ok());
  const Workload& out = *delta.value().workloads.at(0);
  CHECK(DeltaWriter::encode(out) == DeltaWriter::encode(in));
  CHECK(out.spiffeId() == "spiffe://cluster.local/ns/shop/sa/cart-sa");
  CHECK(out.hostNetwork);
  CHECK(out.locality.subzone == "rack-7");
  CHECK(out.capacity == 0);
  CHECK(out.services.at(0).ports.at(1).servicePort == 65535);
}

TEST_CASE("a workload without the fields is not healthy, and has a capacity of 1") {
  DeltaWriter writer;
  writer.message(1, "\x0a\x01k\x1a\x01n");
  const auto delta = decode(writer);
  REQUIRE(delta.ok());
  CHECK_FALSE(delta.value().workloads.at(0)->healthy);
  CHECK(delta.value().workloads.at(0)->capacity == 1);
}

TEST_CASE("every field of a service arrives") {
  Service in = service("shop/cart.shop.svc.cluster.local");
  in.name = "cart";
  in.namespaceName = "shop";
  in.hostname = "cart.shop.svc.cluster.local";
  in.addresses = {vip("10.96.0.1"), {{*Ip::parse("fd00:96::"), 32}, "east"}};
  in.ports = {{80, 8080}, {443, 0}};
  in.subjectAltNames = {"spiffe://cluster.local/ns/shop/sa/other"};
  in.loadBalancing = {LoadBalancing::Mode::kFailover,
                      {Nearness::kNetwork, Nearness::kRegion, Nearness::kZone, Nearness::kSubzone,
                       Nearness::kNode, Nearness::kCluster},
                      true};
  in.ownNamespaceOnly = true;
  in.families = Service::Families::kDual;
  in.canonical = true;
  in.waypoint = true;
  DeltaWriter writer;
  writer.add(in);
  const auto delta = decode(writer);
  REQUIRE(delta.ok());
  CHECK(DeltaWriter::encode(*delta.value().services.at(0)) == DeltaWriter::encode(in));
}

TEST_CASE("removals and the received flag arrive") {
  DeltaWriter writer;
  writer.removeWorkload("w").removeService("s").removePolicy("p").policiesReceived();
  const auto delta = decode(writer);
  REQUIRE(delta.ok());
  CHECK(delta.value().removedWorkloads == std::vector<std::string>{"w"});
  CHECK(delta.value().removedServices == std::vector<std::string>{"s"});
  CHECK(delta.value().removedPolicies == std::vector<std::string>{"p"});
  CHECK(delta.value().policiesReceived);
}

TEST_CASE("an empty uid, key or namespace is refused") {
  DeltaWriter noUid;
  noUid.add(workload(""));
  CHECK(decode(noUid).status().code() == Code::kInvalid);
  DeltaWriter noNamespace;
  noNamespace.message(1, "\x0a\x01k");
  CHECK(decode(noNamespace).status().code() == Code::kInvalid);
  DeltaWriter noKey;
  noKey.add(service(""));
  CHECK(decode(noKey).status().code() == Code::kInvalid);
  for (const uint32_t tag : {1, 3, 5}) {
    DeltaWriter nothing;
    nothing.message(tag, "");
    CHECK(decode(nothing).status().code() == Code::kInvalid);
  }
  for (const uint32_t tag : {2, 4, 6}) {
    DeltaWriter removal;
    removal.message(tag, "");
    CHECK(decode(removal).status().code() == Code::kInvalid);
  }
}

TEST_CASE("an address is 4 or 16 bytes") {
  for (size_t length = 0; length <= 20; length++) {
    CAPTURE(length);
    const bool good = length == 4 || length == 16;
    const std::string raw(length, '\1');
    CHECK(workloadStatus([&](pbf_writer& out) { out.add_bytes(6, raw); }).ok() == good);
    CHECK(vipStatus(raw, 0).ok() == good);
  }
}

TEST_CASE("an address of a service is a range whose host bits are dropped") {
  CHECK(vipStatus("abcd", 32).ok());
  CHECK(vipStatus("abcd", 33).code() == Code::kInvalid);
  CHECK(vipStatus(std::string(16, 'a'), 128).ok());
  CHECK(vipStatus(std::string(16, 'a'), 129).code() == Code::kInvalid);
  CHECK(serviceStatus([](pbf_writer& out) { out.add_bytes(5, ""); }).code() == Code::kInvalid);
  Service in = service("shop/wide");
  in.addresses = {{{*Ip::parse("10.96.7.9"), 20}, ""}, {{*Ip::parse("fd00::9"), 0}, ""}};
  DeltaWriter writer;
  writer.add(in);
  const auto delta = decode(writer);
  REQUIRE(delta.ok());
  const Service& out = *delta.value().services.at(0);
  CHECK(out.addresses.at(0).range == Cidr{*Ip::parse("10.96.0.0"), 20});
  CHECK(out.addresses.at(1).range == Cidr{*Ip::parse("::"), 0});
}

TEST_CASE("load balancing of a kind that is not known is refused") {
  const auto balancing = [](uint32_t tag, uint64_t value) {
    return serviceStatus([&](pbf_writer& out) {
             pbf_writer inner(out, 8);
             inner.add_uint64(tag, value);
           })
        .code();
  };
  CHECK(balancing(1, 0) == Code::kInvalid);
  CHECK(balancing(1, 1) == Code::kOk);
  CHECK(balancing(1, 6) == Code::kOk);
  CHECK(balancing(1, 7) == Code::kInvalid);
  CHECK(balancing(2, 3) == Code::kOk);
  CHECK(balancing(2, 4) == Code::kInvalid);
  CHECK(balancing(3, 2) == Code::kInvalid);
  CHECK(balancing(4, 0) == Code::kInvalid);
  const auto number = [](uint32_t entry, uint32_t tag, uint64_t value) {
    return entryStatus(entry, [&](pbf_writer& out) { out.add_uint64(tag, value); }).code();
  };
  CHECK(number(3, 9, 2) == Code::kInvalid);
  CHECK(number(3, 10, 3) == Code::kOk);
  CHECK(number(3, 10, 4) == Code::kInvalid);
  CHECK(number(1, 22, uint64_t{1} << 32) == Code::kInvalid);
}

TEST_CASE("ports are 1 to 65535, and only a service's target port may be 0") {
  const auto portMap = [](uint64_t from, uint64_t to) {
    std::string bytes;
    pbf_writer out(bytes);
    out.add_uint64(1, from);
    out.add_uint64(2, to);
    return bytes;
  };
  const auto inService = [&](uint64_t from, uint64_t to) {
    return serviceStatus([&](pbf_writer& out) { out.add_message(6, portMap(from, to)); }).ok();
  };
  const auto inBinding = [&](uint64_t from, uint64_t to) {
    return workloadStatus([&](pbf_writer& out) {
             pbf_writer binding(out, 10);
             binding.add_string(1, "shop/cart");
             binding.add_message(2, portMap(from, to));
           })
        .ok();
  };
  const uint64_t wraps = (uint64_t{1} << 32) + 80;
  CHECK(inService(1, 65535));
  CHECK(inService(65535, 0));
  CHECK_FALSE(inService(0, 80));
  CHECK_FALSE(inService(65536, 80));
  CHECK_FALSE(inService(80, 65536));
  CHECK_FALSE(inService(wraps, 80));
  CHECK(inBinding(65535, 1));
  CHECK_FALSE(inBinding(80, 0));
  CHECK_FALSE(inBinding(0, 80));
  CHECK_FALSE(inBinding(80, 65536));
  CHECK_FALSE(inBinding(80, wraps));
}

TEST_CASE("an unknown protocol and a flag that is neither true nor false are refused") {
  CHECK(workloadStatus([](pbf_writer& out) { out.add_enum(8, 1); }).ok());
  CHECK_FALSE(workloadStatus([](pbf_writer& out) { out.add_enum(8, 2); }).ok());
  CHECK_FALSE(workloadStatus([](pbf_writer& out) { out.add_uint32(11, 2); }).ok());
}

TEST_CASE("an unknown field or a known one of another wire type is refused") {
  CHECK_FALSE(workloadStatus([](pbf_writer& out) { out.add_uint32(99, 1); }).ok());
  CHECK_FALSE(workloadStatus([](pbf_writer& out) { out.add_uint32(2, 1); }).ok());
  CHECK_FALSE(serviceStatus([](pbf_writer& out) { out.add_fixed32(2, 1); }).ok());
  DeltaWriter writer;
  writer.message(8, "x");
  CHECK(decode(writer).status().code() == Code::kInvalid);
}

TEST_CASE("a workload names a service once") {
  const Status status = workloadStatus([](pbf_writer& out) {
    for (int i = 0; i < 2; i++) {
      pbf_writer binding(out, 10);
      binding.add_string(1, "shop/cart");
    }
  });
  CHECK(status.code() == Code::kInvalid);
  CHECK(status.message() == "workload \"key\": service \"shop/cart\": twice");
  CHECK_FALSE(workloadStatus([](pbf_writer& out) { out.add_bytes(10, ""); }).ok());
}

TEST_CASE("a key occurs once in a delta, be it added or removed") {
  DeltaWriter twice;
  twice.add(workload("a")).add(workload("a"));
  CHECK(decode(twice).status().code() == Code::kInvalid);
  DeltaWriter both;
  both.add(service("a")).removeService("a");
  CHECK(decode(both).status().code() == Code::kInvalid);
  DeltaWriter removedTwice;
  removedTwice.removePolicy("a").removePolicy("a");
  CHECK(decode(removedTwice).status().code() == Code::kInvalid);
  DeltaWriter apart;
  apart.add(workload("a")).add(service("a")).add(policy("a"));
  CHECK(decode(apart).ok());
}

TEST_CASE("a delta cut off anywhere but between two entries is refused") {
  DeltaWriter writer;
  writer.add(workload("a"));
  const size_t border = writer.bytes().size();
  writer.add(service("shop/b"));
  const auto bytes = writer.bytes();
  for (size_t length = 1; length < bytes.size(); length++) {
    CAPTURE(length);
    CHECK(decodeTablesDelta(bytes.first(length)).ok() == (length == border));
  }
}

// Limits: at each edge, and one past it.

Status textStatus(uint32_t entry, uint32_t tag, size_t length) {
  return entryStatus(entry,
                     [&](pbf_writer& out) { out.add_string(tag, std::string(length, 'x')); });
}

TEST_CASE("texts and keys have a greatest length") {
  CHECK(textStatus(1, 2, kTextBytesMax).ok());
  CHECK(textStatus(1, 2, kTextBytesMax + 1).code() == Code::kLimit);
  CHECK(textStatus(3, 4, kTextBytesMax).ok());
  CHECK(textStatus(3, 4, kTextBytesMax + 1).code() == Code::kLimit);
  CHECK(textStatus(1, 9, kKeyBytesMax).ok());
  CHECK(textStatus(1, 9, kKeyBytesMax + 1).code() == Code::kLimit);
  CHECK(textStatus(1, 1, kKeyBytesMax).ok());
  CHECK(textStatus(1, 1, kKeyBytesMax + 1).code() == Code::kLimit);
  DeltaWriter edge;
  edge.removeWorkload(std::string(kKeyBytesMax, 'x'));
  CHECK(decode(edge).ok());
  DeltaWriter past;
  past.removeWorkload(std::string(kKeyBytesMax + 1, 'x'));
  CHECK(decode(past).status().code() == Code::kLimit);
}

/// The status of an entry in which `add` was called `count` times.
template <typename Add>
Code codeOfMany(uint32_t entry, size_t count, Add add) {
  return entryStatus(entry,
                     [&](pbf_writer& out) {
                       for (size_t i = 0; i < count; i++) {
                         add(out, i);
                       }
                     })
      .code();
}

template <typename Add>
void checkMax(uint32_t entry, size_t max, Add add) {
  CHECK(codeOfMany(entry, max, add) == Code::kOk);
  CHECK(codeOfMany(entry, max + 1, add) == Code::kLimit);
}

TEST_CASE("the lists in an entry have a greatest length") {
  const auto port = [](pbf_writer& out) {
    out.add_uint32(1, 80);
    out.add_uint32(2, 80);
  };
  checkMax(1, kAddressesMax, [](pbf_writer& out, size_t) { out.add_bytes(6, "abcd"); });
  checkMax(3, kAddressesMax, [](pbf_writer& out, size_t) { addVip(out, "abcd", 0); });
  const auto preferences = [](size_t count) {
    return serviceStatus([&](pbf_writer& out) {
             pbf_writer inner(out, 8);
             for (size_t i = 0; i < count; i++) {
               inner.add_enum(1, 1);
             }
           })
        .code();
  };
  CHECK(preferences(kPreferencesMax) == Code::kOk);
  CHECK(preferences(kPreferencesMax + 1) == Code::kLimit);
  checkMax(1, kNamedPoliciesMax, [](pbf_writer& out, size_t) { out.add_string(9, "p"); });
  checkMax(3, kSubjectAltNamesMax, [](pbf_writer& out, size_t) { out.add_string(7, "s"); });
  checkMax(1, kBindingsMax, [](pbf_writer& out, size_t i) {
    pbf_writer binding(out, 10);
    binding.add_string(1, "s" + std::to_string(i));
  });
  checkMax(3, kPortsMax, [&](pbf_writer& out, size_t) {
    pbf_writer inner(out, 6);
    port(inner);
  });
  const auto bindingPorts = [&](size_t count) {
    return workloadStatus([&](pbf_writer& out) {
             pbf_writer binding(out, 10);
             binding.add_string(1, "s");
             for (size_t i = 0; i < count; i++) {
               pbf_writer inner(binding, 2);
               port(inner);
             }
           })
        .code();
  };
  CHECK(bindingPorts(kPortsMax) == Code::kOk);
  CHECK(bindingPorts(kPortsMax + 1) == Code::kLimit);
}

TEST_CASE("the lists of a delta have a greatest length") {
  const auto removals = [](uint32_t tag, size_t count) {
    DeltaWriter writer;
    for (size_t i = 0; i < count; i++) {
      writer.message(tag, std::to_string(i));
    }
    return decode(writer).status().code();
  };
  CHECK(removals(2, kWorkloadsMax) == Code::kOk);
  CHECK(removals(2, kWorkloadsMax + 1) == Code::kLimit);
  CHECK(removals(4, kServicesMax) == Code::kOk);
  CHECK(removals(4, kServicesMax + 1) == Code::kLimit);
  CHECK(removals(6, kPoliciesMax) == Code::kOk);
  CHECK(removals(6, kPoliciesMax + 1) == Code::kLimit);
}

TEST_CASE("a delta has a greatest size") {
  // Filled with removals of long keys; the last one is as long as makes the size come out right.
  const auto sized = [](size_t size) {
    DeltaWriter writer;
    size_t key = 0;
    const auto removal = [&](size_t length) {
      std::string text = std::to_string(key++);
      text.resize(length, 'x');
      writer.removeWorkload(text);
    };
    constexpr size_t kOverhead = 3;
    while (size - writer.bytes().size() > 2 * (kKeyBytesMax + kOverhead)) {
      removal(kKeyBytesMax);
    }
    const size_t rest = size - writer.bytes().size();
    removal(rest / 2 - kOverhead);
    removal(rest - rest / 2 - kOverhead);
    REQUIRE(writer.bytes().size() == size);
    return decode(writer).status().code();
  };
  CHECK(sized(kDeltaBytesMax) == Code::kOk);
  CHECK(sized(kDeltaBytesMax + 1) == Code::kLimit);
}

}  // namespace
}  // namespace weft::proxy
