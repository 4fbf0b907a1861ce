// SPDX-License-Identifier: Apache-2.0
// Long, since each table of the state is walked through the same additions, changes and removals.
#include "proxy/tables_state.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "delta_writer.h"

namespace weft::proxy {
namespace {

using TablesPtr = std::shared_ptr<const Tables>;

Ip ip(const std::string& text) {
  return *Ip::parse(text);
}

Workload workload(std::string uid, std::vector<std::string> addresses = {}) {
  Workload workload;
  workload.uid = std::move(uid);
  workload.namespaceName = "shop";
  for (const std::string& address : addresses) {
    workload.addresses.push_back(ip(address));
  }
  return workload;
}

Workload bound(std::string uid, std::vector<std::string> services) {
  Workload result = workload(std::move(uid));
  for (std::string& service : services) {
    result.services.push_back({std::move(service), {{80, 8080}}});
  }
  return result;
}

Service service(std::string key, std::vector<std::string> addresses = {}) {
  Service service;
  service.key = std::move(key);
  for (const std::string& address : addresses) {
    service.addresses.push_back(vip(address));
  }
  return service;
}

Policy policy(std::string key, PolicyAction action = PolicyAction::kAllow) {
  Policy policy;
  policy.key = std::move(key);
  policy.namespaceName = "shop";
  policy.action = action;
  return policy;
}

TablesPtr mustApply(const TablesPtr& base, const DeltaWriter& delta) {
  auto result = delta.applyTo(base);
  REQUIRE_MESSAGE(result.ok(), result.status().message());
  return std::move(result).value();
}

/// The table with more workloads, or with those replaced.
TablesPtr with(const TablesPtr& base, std::vector<Workload> workloads) {
  DeltaWriter delta;
  for (const Workload& one : workloads) {
    delta.add(one);
  }
  return mustApply(base, delta);
}

TablesPtr without(const TablesPtr& base, const std::string& uid) {
  DeltaWriter delta;
  delta.removeWorkload(uid);
  return mustApply(base, delta);
}

std::string ownerOf(const TablesPtr& tables, const std::string& address) {
  const auto owner = tables->workloadByIp(ip(address), "");
  return owner == nullptr ? "" : owner->uid;
}

std::vector<std::string> endpointsOf(const TablesPtr& tables, const std::string& key) {
  std::vector<std::string> uids;
  for (const ServiceEndpoint& endpoint : tables->endpointsOf(key)) {
    uids.push_back(endpoint.workload->uid);
  }
  return uids;
}

using Uids = std::vector<std::string>;

TEST_CASE("a workload is found by its uid and by each of its addresses") {
  const TablesPtr tables = with(Tables::empty(), {workload("a", {"10.0.0.1", "fd00::1"})});
  CHECK(tables->workloadByUid("a")->uid == "a");
  CHECK(ownerOf(tables, "10.0.0.1") == "a");
  CHECK(ownerOf(tables, "::ffff:10.0.0.1") == "a");
  CHECK(ownerOf(tables, "fd00::1") == "a");
  CHECK(ownerOf(tables, "10.0.0.2").empty());
  CHECK(tables->workloadByUid("b") == nullptr);
}

TEST_CASE("a replaced workload leaves the addresses it lost") {
  TablesPtr tables = with(Tables::empty(), {workload("a", {"10.0.0.1", "10.0.0.2"})});
  tables = with(tables, {workload("a", {"10.0.0.2", "10.0.0.3"})});
  CHECK(ownerOf(tables, "10.0.0.1").empty());
  CHECK(ownerOf(tables, "10.0.0.2") == "a");
  CHECK(ownerOf(tables, "10.0.0.3") == "a");
  CHECK(tables->workloadByIp(ip("10.0.0.2"), "") == tables->workloadByUid("a"));
  tables = without(tables, "a");
  CHECK(ownerOf(tables, "10.0.0.2").empty());
  CHECK(tables->workloadCount() == 0);
}

TEST_CASE("the newest claim to an address wins, and the older gets it back") {
  TablesPtr tables = with(Tables::empty(), {workload("a", {"10.0.0.1"})});
  tables = with(tables, {workload("b", {"10.0.0.1"})});
  tables = with(tables, {workload("c", {"10.0.0.1"})});
  CHECK(ownerOf(tables, "10.0.0.1") == "c");
  CHECK(ownerOf(without(tables, "b"), "10.0.0.1") == "c");
  CHECK(ownerOf(without(tables, "c"), "10.0.0.1") == "b");
  CHECK(ownerOf(without(without(tables, "c"), "b"), "10.0.0.1") == "a");
  CHECK(ownerOf(with(tables, {workload("c", {"10.0.0.9"})}), "10.0.0.1") == "b");
}

TEST_CASE("a workload that is replaced keeps its place among the claims") {
  TablesPtr tables = with(Tables::empty(), {workload("a", {"10.0.0.1"})});
  tables = with(tables, {workload("b", {"10.0.0.1"})});
  tables = with(tables, {workload("a", {"10.0.0.1"})});
  CHECK(ownerOf(tables, "10.0.0.1") == "b");
  tables = without(tables, "b");
  CHECK(tables->workloadByIp(ip("10.0.0.1"), "") == tables->workloadByUid("a"));
}

TEST_CASE("within one delta the later claim wins, and a removal comes first") {
  TablesPtr tables =
      with(Tables::empty(), {workload("a", {"10.0.0.1"}), workload("b", {"10.0.0.1"})});
  CHECK(ownerOf(tables, "10.0.0.1") == "b");
  DeltaWriter move;
  move.add(workload("c", {"10.0.0.1"})).removeWorkload("b");
  CHECK(ownerOf(mustApply(tables, move), "10.0.0.1") == "c");
}

TEST_CASE("an address that a workload lists twice is one claim") {
  TablesPtr tables = with(Tables::empty(), {workload("a", {"10.0.0.1", "10.0.0.1"})});
  CHECK(ownerOf(tables, "10.0.0.1") == "a");
  CHECK(ownerOf(without(tables, "a"), "10.0.0.1").empty());
}

TEST_CASE("a host-network workload is not found by address, and frees it when it becomes one") {
  Workload host = workload("a", {"10.0.0.1"});
  host.hostNetwork = true;
  TablesPtr tables = with(Tables::empty(), {host});
  CHECK(ownerOf(tables, "10.0.0.1").empty());
  CHECK(tables->workloadByUid("a") != nullptr);
  tables = with(tables, {workload("a", {"10.0.0.1"})});
  CHECK(ownerOf(tables, "10.0.0.1") == "a");
  tables = with(tables, {host});
  CHECK(ownerOf(tables, "10.0.0.1").empty());
  CHECK(ownerOf(without(tables, "a"), "10.0.0.1").empty());
}

TEST_CASE("a service is found by its key and its addresses, and the newest claim wins") {
  DeltaWriter first;
  first.add(service("shop/a", {"10.96.0.1", "fd00::96"}));
  TablesPtr tables = mustApply(Tables::empty(), first);
  CHECK(tables->serviceByKey("shop/a")->key == "shop/a");
  CHECK(tables->serviceByVip(ip("fd00::96"), Workload())->key == "shop/a");
  CHECK(tables->serviceByVip(ip("10.96.0.2"), Workload()) == nullptr);
  DeltaWriter second;
  second.add(service("shop/b", {"10.96.0.1"}));
  tables = mustApply(tables, second);
  CHECK(tables->serviceByVip(ip("10.96.0.1"), Workload())->key == "shop/b");
  DeltaWriter third;
  third.removeService("shop/b");
  tables = mustApply(tables, third);
  CHECK(tables->serviceByVip(ip("10.96.0.1"), Workload())->key == "shop/a");
  CHECK(tables->serviceByKey("shop/b") == nullptr);
  CHECK(tables->serviceCount() == 1);
}

Service ranged(std::string key, const char* base, uint8_t length) {
  Service out = service(std::move(key));
  out.addresses = {{{ip(base), length}, ""}};
  return out;
}

std::string keyAt(const TablesPtr& tables, const char* address, const Workload& source = {}) {
  const auto found = tables->serviceByVip(ip(address), source);
  return found == nullptr ? "" : found->key;
}

TEST_CASE("of the ranges that hold an address the longest has it, in its own family") {
  DeltaWriter delta;
  delta.add(ranged("s/8", "10.0.0.0", 8))
      .add(ranged("s/16", "10.96.0.0", 16))
      .add(ranged("s/32", "10.96.0.1", 32))
      .add(ranged("s/v6", "::", 0));
  TablesPtr tables = mustApply(Tables::empty(), delta);
  CHECK(keyAt(tables, "10.96.0.1") == "s/32");
  CHECK(keyAt(tables, "10.96.0.2") == "s/16");
  CHECK(keyAt(tables, "10.97.0.1") == "s/8");
  CHECK(keyAt(tables, "11.0.0.1") == "");
  CHECK(keyAt(tables, "2001:db8::1") == "s/v6");
  DeltaWriter gone;
  gone.removeService("s/32").removeService("s/16").add(ranged("s/8", "10.0.0.0", 9));
  tables = mustApply(tables, gone);
  CHECK(keyAt(tables, "10.96.0.1") == "s/8");
  CHECK(keyAt(tables, "10.200.0.1") == "");
}

TEST_CASE("an address that services share means the one of the source's own namespace") {
  const auto inNamespace = [](const char* name) {
    Service out = service(std::string(name) + "/web", {"10.96.0.1"});
    out.namespaceName = name;
    return out;
  };
  Workload source = workload("client");
  source.namespaceName = "b";
  Service canonical = inNamespace("a");
  canonical.canonical = true;
  Service hidden = inNamespace("z");
  hidden.ownNamespaceOnly = true;
  DeltaWriter delta;
  delta.add(canonical).add(inNamespace("b")).add(inNamespace("c")).add(hidden);
  TablesPtr tables = mustApply(Tables::empty(), delta);
  CHECK(keyAt(tables, "10.96.0.1", source) == "b/web");
  source.namespaceName = "d";
  CHECK(keyAt(tables, "10.96.0.1", source) == "a/web");
  source.namespaceName = "z";
  CHECK(keyAt(tables, "10.96.0.1", source) == "z/web");
  DeltaWriter gone;
  gone.removeService("a/web").removeService("b/web").removeService("c/web");
  tables = mustApply(tables, gone);
  source.namespaceName = "d";
  CHECK(keyAt(tables, "10.96.0.1", source) == "");
  CHECK(keyAt(tables, "10.96.0.1", [] {
          Workload own;
          own.namespaceName = "z";
          return own;
        }()) == "z/web");
}

TEST_CASE("a range that the source may not see gives way to a wider one that it may") {
  Service hidden = ranged("a/hidden", "10.96.0.0", 16);
  hidden.namespaceName = "a";
  hidden.ownNamespaceOnly = true;
  DeltaWriter delta;
  delta.add(hidden).add(ranged("b/wide", "10.0.0.0", 8));
  const TablesPtr tables = mustApply(Tables::empty(), delta);
  CHECK(keyAt(tables, "10.96.0.1") == "b/wide");
}

TEST_CASE("the route epoch rises when something that was there is reached in another way") {
  TablesPtr tables = Tables::empty();
  const auto risesBy = [&](const DeltaWriter& delta) {
    const uint64_t before = tables->routeEpoch();
    tables = mustApply(tables, delta);
    return tables->routeEpoch() - before;
  };
  Workload one = workload("a", {"10.0.0.1"});
  Service by = service("s", {"10.96.0.1"});
  CHECK(risesBy(DeltaWriter().add(one).add(by)) == 0);
  CHECK(risesBy(DeltaWriter().add(one).add(by)) == 0);
  one.healthy = false;
  one.policies = {"shop/p"};
  CHECK(risesBy(DeltaWriter().add(one)) == 0);
  const auto changes = [&](auto change) {
    change(one);
    return risesBy(DeltaWriter().add(one));
  };
  CHECK(changes([](Workload& w) { w.hbone = true; }) == 1);
  CHECK(changes([](Workload& w) { w.serviceAccount = "x"; }) == 1);
  CHECK(changes([](Workload& w) { w.trustDomain = "x"; }) == 1);
  CHECK(changes([](Workload& w) { w.waypoint = true; }) == 1);
  CHECK(changes([](Workload& w) { w.hostNetwork = true; }) == 1);
  CHECK(changes([](Workload& w) { w.network = "x"; }) == 1);
  CHECK(changes([](Workload& w) { w.addresses = {}; }) == 1);
  by.waypoint = true;
  CHECK(risesBy(DeltaWriter().add(by)) == 1);
  CHECK(risesBy(DeltaWriter().removeService("s")) == 0);
  CHECK(risesBy(DeltaWriter().removeWorkload("a")) == 1);
  CHECK(risesBy(DeltaWriter().removeWorkload("a")) == 0);
}

TEST_CASE("addresses hold in their own network") {
  Workload here = workload("here", {"10.0.0.1"});
  Workload there = workload("there", {"10.0.0.1"});
  there.network = "east";
  Service both = service("s");
  both.addresses = {vip("10.96.0.1"), {{ip("10.96.0.1"), 32}, "east"}};
  Service only = service("only");
  only.addresses = {{{ip("10.96.0.2"), 32}, "east"}};
  DeltaWriter delta;
  delta.add(here).add(there).add(both).add(only);
  const TablesPtr tables = mustApply(Tables::empty(), delta);
  CHECK(tables->workloadByIp(ip("10.0.0.1"), "")->uid == "here");
  CHECK(tables->workloadByIp(ip("10.0.0.1"), "east")->uid == "there");
  CHECK(tables->workloadByIp(ip("10.0.0.1"), "west") == nullptr);
  CHECK(keyAt(tables, "10.96.0.1") == "s");
  CHECK(keyAt(tables, "10.96.0.1", there) == "s");
  CHECK(keyAt(tables, "10.96.0.2") == "");
  CHECK(keyAt(tables, "10.96.0.2", there) == "only");
}

TEST_CASE("endpoints follow the workloads that name the service") {
  TablesPtr tables = with(Tables::empty(), {bound("b", {"s1"}), bound("a", {"s1", "s2"})});
  CHECK(endpointsOf(tables, "s1") == Uids{"a", "b"});
  CHECK(endpointsOf(tables, "s2") == Uids{"a"});
  CHECK(tables->endpointsOf("s3").empty());
  tables = with(tables, {bound("a", {"s2", "s3"}), bound("c", {"s1"})});
  CHECK(endpointsOf(tables, "s1") == Uids{"b", "c"});
  CHECK(endpointsOf(tables, "s2") == Uids{"a"});
  CHECK(endpointsOf(tables, "s3") == Uids{"a"});
  tables = without(tables, "a");
  CHECK(tables->endpointsOf("s2").empty());
  CHECK(endpointsOf(tables, "s1") == Uids{"b", "c"});
}

TEST_CASE("an endpoint is the workload and the binding of now, in its old place") {
  TablesPtr tables = with(Tables::empty(), {bound("a", {"s"}), bound("b", {"s"})});
  Workload changed = bound("a", {"s"});
  changed.services[0].ports = {{80, 9090}};
  tables = with(tables, {changed});
  REQUIRE(endpointsOf(tables, "s") == Uids{"a", "b"});
  const ServiceEndpoint& endpoint = tables->endpointsOf("s")[0];
  CHECK(endpoint.workload == tables->workloadByUid("a"));
  CHECK(endpoint.binding == &endpoint.workload->services[0]);
  CHECK(endpoint.binding->ports[0].targetPort == 9090);
}

TEST_CASE("unhealthy endpoints are listed too") {
  Workload sick = bound("a", {"s"});
  sick.healthy = false;
  CHECK(endpointsOf(with(Tables::empty(), {sick}), "s") == Uids{"a"});
}

TEST_CASE("a table that was replaced stays as it was, with all it pointed to") {
  const TablesPtr before = with(Tables::empty(), {workload("a", {"10.0.0.1"}), bound("b", {"s"})});
  const auto endpoints = before->endpointsOf("s");
  TablesPtr after = without(without(before, "a"), "b");
  after = nullptr;
  CHECK(ownerOf(before, "10.0.0.1") == "a");
  CHECK(endpoints[0].workload->uid == "b");
}

TEST_CASE("a delta with one bad entry changes nothing") {
  const TablesPtr before = with(Tables::empty(), {workload("a", {"10.0.0.1"})});
  DeltaWriter delta;
  delta.removeWorkload("a").add(workload("b", {"10.0.0.1"})).add(policy("")).policiesReceived();
  const auto result = delta.applyTo(before);
  CHECK(result.status().code() == Code::kInvalid);
  CHECK(ownerOf(before, "10.0.0.1") == "a");
  CHECK_FALSE(before->policiesReceived());
}

TEST_CASE("to remove what is not there changes nothing") {
  const TablesPtr before = with(Tables::empty(), {bound("a", {"s"})});
  DeltaWriter delta;
  delta.removeWorkload("x").removeService("x").removePolicy("x");
  const TablesPtr after = mustApply(before, delta);
  CHECK(after->sharingWith(*before).shared == before->sharingWith(*before).parts);
  CHECK(after->policyEpoch() == before->policyEpoch());
}

/// `count` workloads, each with an address of its own, in services of 100.
DeltaWriter many(size_t count) {
  DeltaWriter delta;
  for (size_t i = 0; i < count; i++) {
    Workload one = bound("uid-" + std::to_string(i), {"service-" + std::to_string(i / 100)});
    const std::string low = std::to_string(i % 250);
    one.addresses = {
        ip("10." + std::to_string(i / 62'500) + "." + std::to_string(i / 250 % 250) + "." + low)};
    delta.add(one);
  }
  return delta;
}

TEST_CASE("one change among 50,000 workloads copies three parts and shares the others") {
  const TablesPtr before = mustApply(Tables::empty(), many(50'000));
  CHECK(before->workloadCount() == 50'000);
  Workload changed = *before->workloadByUid("uid-31415");
  changed.healthy = false;
  const TablesPtr after = with(before, {changed});
  // By uid, by address, and the endpoints of its service.
  const auto sharing = after->sharingWith(*before);
  CHECK(sharing.parts > 700);
  CHECK(sharing.shared == sharing.parts - 3);
  CHECK_FALSE(after->workloadByUid("uid-31415")->healthy);
  CHECK(before->workloadByUid("uid-31415")->healthy);
  CHECK(after->workloadByUid("uid-1") == before->workloadByUid("uid-1"));
  CHECK(endpointsOf(after, "service-314").size() == 100);
}

TEST_CASE("a new policy copies its own part and its namespace's") {
  TablesPtr before = mustApply(Tables::empty(), many(1'000));
  DeltaWriter delta;
  delta.add(policy("shop/p"));
  before = mustApply(before, delta);
  DeltaWriter change;
  change.add(policy("shop/p", PolicyAction::kDeny));
  const auto sharing = mustApply(before, change)->sharingWith(*before);
  CHECK(sharing.shared == sharing.parts - 2);
}

// The epoch.

uint64_t rise(const TablesPtr& base, const DeltaWriter& delta) {
  return mustApply(base, delta)->policyEpoch() - base->policyEpoch();
}

TEST_CASE("the policy epoch rises when a policy comes, changes or goes, once a table") {
  DeltaWriter both;
  both.add(policy("shop/a")).add(policy("shop/b"));
  CHECK(rise(Tables::empty(), both) == 1);
  const TablesPtr tables = mustApply(Tables::empty(), both);
  CHECK(rise(tables, both) == 0);
  DeltaWriter change;
  change.add(policy("shop/a", PolicyAction::kDeny));
  CHECK(rise(tables, change) == 1);
  DeltaWriter removal;
  removal.removePolicy("shop/b");
  CHECK(rise(tables, removal) == 1);
  DeltaWriter nothing;
  nothing.removePolicy("shop/c");
  CHECK(rise(tables, nothing) == 0);
}

TEST_CASE("the policy epoch rises when a workload's policies or namespace change") {
  Workload named = workload("a");
  named.policies = {"shop/p"};
  DeltaWriter addNamed;
  addNamed.add(named);
  DeltaWriter addPlain;
  addPlain.add(workload("a"));
  DeltaWriter removal;
  removal.removeWorkload("a");
  Workload moved = named;
  moved.namespaceName = "bank";
  DeltaWriter move;
  move.add(moved);
  Workload other = named;
  other.healthy = false;
  DeltaWriter touch;
  touch.add(other);
  CHECK(rise(Tables::empty(), addPlain) == 0);
  CHECK(rise(Tables::empty(), addNamed) == 1);
  const TablesPtr tables = mustApply(Tables::empty(), addNamed);
  CHECK(rise(tables, touch) == 0);
  CHECK(rise(tables, addPlain) == 1);
  CHECK(rise(tables, move) == 1);
  CHECK(rise(tables, removal) == 1);
  CHECK(rise(mustApply(Tables::empty(), addPlain), removal) == 0);
}

TEST_CASE("that policies were received is never forgotten, and counts once in the epoch") {
  DeltaWriter received;
  received.policiesReceived();
  const TablesPtr tables = mustApply(Tables::empty(), received);
  CHECK_FALSE(Tables::empty()->policiesReceived());
  CHECK(tables->policiesReceived());
  CHECK(tables->policyEpoch() == 1);
  CHECK(rise(tables, received) == 0);
  CHECK(mustApply(tables, DeltaWriter())->policiesReceived());
}

// Limits of the table.

template <typename Entry>
void checkTableMax(size_t max, size_t (Tables::*count)() const, Entry entry) {
  DeltaWriter first;
  for (size_t i = 1; i < max; i++) {
    first.add(entry(std::to_string(i)));
  }
  const TablesPtr below = mustApply(Tables::empty(), first);
  DeltaWriter edge;
  edge.add(entry("edge"));
  const TablesPtr full = mustApply(below, edge);
  CHECK(((*full).*count)() == max);
  DeltaWriter past;
  past.add(entry("past"));
  CHECK(past.applyTo(full).status().code() == Code::kLimit);
  CHECK(mustApply(full, edge) != nullptr);
}

TEST_CASE("a table has a greatest number of workloads, services and policies") {
  checkTableMax(kWorkloadsMax, &Tables::workloadCount,
                [](const std::string& key) { return workload(key); });
  checkTableMax(kServicesMax, &Tables::serviceCount,
                [](const std::string& key) { return service(key); });
  checkTableMax(kPoliciesMax, &Tables::policyCount, [](const std::string& key) {
    Policy one = policy(key);
    one.namespaceName = "ns-" + key;
    return one;
  });
}

TEST_CASE("a full table takes an entry for one that goes in the same delta") {
  DeltaWriter first;
  for (size_t i = 0; i < kServicesMax; i++) {
    first.add(service(std::to_string(i)));
  }
  const TablesPtr full = mustApply(Tables::empty(), first);
  DeltaWriter swap;
  swap.add(service("new")).removeService("0");
  CHECK(mustApply(full, swap)->serviceCount() == kServicesMax);
}

TEST_CASE("an address has a greatest number of claims") {
  DeltaWriter edge;
  for (size_t i = 0; i < kClaimsMax; i++) {
    edge.add(workload(std::to_string(i), {"10.0.0.1"}));
    edge.add(service(std::to_string(i), {"10.96.0.1"}));
  }
  const TablesPtr full = mustApply(Tables::empty(), edge);
  DeltaWriter workloadPast;
  workloadPast.add(workload("past", {"10.0.0.1"}));
  CHECK(workloadPast.applyTo(full).status().code() == Code::kLimit);
  DeltaWriter servicePast;
  servicePast.add(service("past", {"10.96.0.1"}));
  CHECK(servicePast.applyTo(full).status().code() == Code::kLimit);
}

}  // namespace
}  // namespace weft::proxy
