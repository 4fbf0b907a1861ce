// SPDX-License-Identifier: Apache-2.0
// Tables of services in maps of the kernel, as programs find them. Needs root.
#include "kernel/services.h"

#include <bpf/bpf.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernel/scratch_node.h"

using weft::Endpoint;
using weft::Ip;
using weft::UniqueFd;
using weft::io::ServicePick;
using weft::io::ServicePicks;
using weft::io::ServiceTables;
using weft::kernel::KernelServices;
using weft::kernel::Pins;

namespace {

Endpoint at(const char* ip, uint16_t port) {
  return {*Ip::parse(ip), port};
}

const Endpoint kWeb = at("10.96.0.1", 80);
const Endpoint kOther = at("fd00:96::1", 443);

ServicePicks picks(std::vector<uint16_t> ports) {
  ServicePicks out;
  for (const uint16_t port : ports) {
    out.push_back({at("10.0.0.1", port), port * 1000U, static_cast<uint32_t>(out.size())});
  }
  return out;
}

/// The maps, pinned in a folder of their own.
class Maps {
 public:
  explicit Maps(uint32_t services = 16, uint32_t picks = 64) {
    REQUIRE(pins->make().ok());
    services_ = make("weft_services", sizeof(weft_service_key), sizeof(weft_service), services);
    picks_ = make("weft_picks", sizeof(weft_pick_key), sizeof(weft_pick), picks);
  }
  /// What a program would find at this address; nothing where the service has no table.
  std::optional<ServicePicks> found(const Endpoint& at) const {
    const weft_service_key key{weft::kernel::toAbi(at.ip), at.port, 0};
    weft_service service{};
    if (bpf_map_lookup_elem(services_.get(), &key, &service) != 0) {
      return std::nullopt;
    }
    ServicePicks all;
    for (uint32_t i = 0; i < service.count; i++) {
      const weft_pick_key place{service.table, i, 0};
      weft_pick pick{};
      REQUIRE(bpf_map_lookup_elem(picks_.get(), &place, &pick) == 0);
      const Endpoint target{weft::kernel::fromAbi(pick.ip), static_cast<uint16_t>(pick.port)};
      all.push_back({target, pick.keep, pick.other});
    }
    return all;
  }
  uint64_t tableAt(const Endpoint& at) const {
    const weft_service_key key{weft::kernel::toAbi(at.ip), at.port, 0};
    weft_service service{};
    return bpf_map_lookup_elem(services_.get(), &key, &service) == 0 ? service.table : 0;
  }
  size_t places() const {
    size_t count = 0;
    weft_pick_key key{};
    for (const void* previous = nullptr; bpf_map_get_next_key(picks_.get(), previous, &key) == 0;
         previous = &key) {
      count++;
    }
    return count;
  }
  /// A place of a table that nothing leads to, as one who died left it.
  void leaveOrphan() const {
    const weft_pick_key key{1, 0, 0};
    const weft_pick pick{};
    REQUIRE(bpf_map_update_elem(picks_.get(), &key, &pick, BPF_ANY) == 0);
  }

  const weft::test::ScratchPins pins;

 private:
  UniqueFd make(const char* name, uint32_t keyBytes, uint32_t valueBytes, uint32_t max) const {
    bpf_map_create_opts options{};
    options.sz = sizeof options;
    options.map_flags = BPF_F_NO_PREALLOC;
    UniqueFd map(bpf_map_create(BPF_MAP_TYPE_HASH, name, keyBytes, valueBytes, max, &options));
    REQUIRE(map);
    REQUIRE(bpf_obj_pin(map.get(), pins->map(name).c_str()) == 0);
    return map;
  }

  UniqueFd services_;
  UniqueFd picks_;
};

KernelServices open(const Maps& maps) {
  weft::Result<KernelServices> opened = KernelServices::open(*maps.pins);
  REQUIRE(opened.ok());
  return std::move(opened).value();
}

}  // namespace

TEST_CASE("a table is found whole, and goes with its service") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Maps maps;
  KernelServices services = open(maps);
  const ServiceTables all = {{kWeb, picks({1, 2, 3})}, {kOther, picks({4})}};
  CHECK(services.publish(all).ok());
  CHECK(maps.found(kWeb) == all.at(kWeb));
  CHECK(maps.found(kOther) == all.at(kOther));
  CHECK_FALSE(maps.found(at("10.96.0.1", 81)).has_value());
  CHECK(services.publish({{kOther, picks({4})}}).ok());
  CHECK_FALSE(maps.found(kWeb).has_value());
  CHECK(maps.found(kOther) == all.at(kOther));
  CHECK(maps.places() == 1);
}

TEST_CASE("one that changes is another table, and one that does not stays") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Maps maps;
  KernelServices services = open(maps);
  CHECK(services.publish({{kWeb, picks({1, 2, 3})}, {kOther, picks({4})}}).ok());
  const uint64_t web = maps.tableAt(kWeb);
  const uint64_t other = maps.tableAt(kOther);
  CHECK(web != other);
  CHECK(services.publish({{kWeb, picks({1, 2})}, {kOther, picks({4})}}).ok());
  CHECK(maps.tableAt(kWeb) != web);
  CHECK(maps.tableAt(kWeb) != other);
  CHECK(maps.tableAt(kOther) == other);
  CHECK(maps.found(kWeb) == picks({1, 2}));
  CHECK(maps.places() == 3);
}

TEST_CASE("who comes after takes over what is there, and takes away what is not to be") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Maps maps;
  {
    KernelServices first = open(maps);
    CHECK(first.publish({{kWeb, picks({1, 2, 3})}, {kOther, picks({4})}}).ok());
  }
  maps.leaveOrphan();
  KernelServices second = open(maps);
  CHECK(maps.places() == 4);
  CHECK(maps.found(kWeb) == picks({1, 2, 3}));
  CHECK(second.publish({{kWeb, picks({5})}}).ok());
  CHECK(maps.found(kWeb) == picks({5}));
  CHECK_FALSE(maps.found(kOther).has_value());
  CHECK(maps.places() == 1);
}

TEST_CASE("what finds no room is the proxy's, leaves nothing behind, and is tried again") {
  if (!weft::test::hasRoot()) {
    return;
  }
  SUBCASE("for its places") {
    const Maps maps(16, 4);
    KernelServices services = open(maps);
    CHECK(services.publish({{kWeb, picks({1, 2, 3})}}).ok());
    CHECK_FALSE(services.publish({{kWeb, picks({1, 2, 3})}, {kOther, picks({4, 5})}}).ok());
    CHECK(maps.found(kWeb) == picks({1, 2, 3}));
    CHECK_FALSE(maps.found(kOther).has_value());
    CHECK(maps.places() == 3);
    CHECK(services.publish({{kOther, picks({4, 5})}}).ok());
    CHECK(maps.found(kOther) == picks({4, 5}));
  }
  SUBCASE("for itself") {
    const Maps maps(1, 64);
    KernelServices services = open(maps);
    CHECK_FALSE(services.publish({{kWeb, picks({1})}, {kOther, picks({4, 5})}}).ok());
    CHECK(maps.found(kWeb) == picks({1}));
    CHECK(maps.places() == 1);
    CHECK(services.publish({{kOther, picks({4, 5})}}).ok());
    CHECK(maps.found(kOther) == picks({4, 5}));
  }
  SUBCASE("where there was another before, which makes room") {
    const Maps maps(16, 4);
    KernelServices services = open(maps);
    CHECK(services.publish({{kWeb, picks({1, 2, 3})}}).ok());
    CHECK(services.publish({{kWeb, picks({4, 5, 6})}}).ok());
    CHECK(maps.found(kWeb) == picks({4, 5, 6}));
    CHECK(maps.places() == 3);
    CHECK_FALSE(services.publish({{kWeb, picks({1, 2, 3, 4, 5})}}).ok());
    CHECK_FALSE(maps.found(kWeb).has_value());
    CHECK(maps.places() == 0);
  }
}

TEST_CASE("nothing is opened where nothing is pinned") {
  CHECK(KernelServices::open(Pins("/tmp/weft-nowhere")).status().code() ==
        weft::Code::kUnavailable);
}
