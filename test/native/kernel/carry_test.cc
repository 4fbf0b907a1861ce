// SPDX-License-Identifier: Apache-2.0
// Tables of one layout into those of another, in a BPF file system of the test's own. Needs root.
#include "kernel/carry.h"

#include <bpf/bpf.h>
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/clock.h"
#include "kernel/bpf.h"
#include "kernel/pinned_maps.h"
#include "kernel/scratch_node.h"

using weft::UniqueFd;
using weft::kernel::Carry;
using weft::kernel::kCarriedVerdictNs;
using weft::kernel::makeTable;
using weft::kernel::MapShape;
using weft::kernel::openPinned;
using weft::kernel::Pins;
using weft::kernel::TableShape;
using weft::test::Folders;
using weft::test::pinned;

namespace {

constexpr uint64_t kPod = 7;
constexpr uint64_t kHourNs = 3'600'000'000'000;

/// A value of a later layout, which has more at its end.
struct Greater {
  weft_verdict old;
  uint64_t added;
};

TableShape shapeOf(uint32_t type, size_t key, size_t value) {
  const uint32_t flags = type == BPF_MAP_TYPE_ARRAY ? 0 : BPF_F_NO_PREALLOC;
  return {type, static_cast<uint32_t>(key), static_cast<uint32_t>(value), 16, flags};
}

TableShape verdictsOf(size_t value) {
  return shapeOf(BPF_MAP_TYPE_HASH, sizeof(weft_verdict_key), value);
}

/// One that `map` has for the pod from now on.
UniqueFd addTable(const UniqueFd& map, const TableShape& shape) {
  UniqueFd table = std::move(makeTable(shape)).value();
  const int fd = table.get();
  REQUIRE(bpf_map_update_elem(map.get(), &kPod, &fd, BPF_ANY) == 0);
  return table;
}

UniqueFd tableOf(const UniqueFd& map) {
  uint32_t id = 0;
  return UniqueFd(bpf_map_lookup_elem(map.get(), &kPod, &id) == 0 ? bpf_map_get_fd_by_id(id) : -1);
}

void put(const UniqueFd& table, uint32_t port, uint32_t action, uint64_t expiresNs) {
  const weft_verdict_key key{1, port, 0};
  weft_verdict verdict{};
  verdict.expires_ns = expiresNs;
  verdict.action = action;
  REQUIRE(bpf_map_update_elem(table.get(), &key, &verdict, BPF_ANY) == 0);
}

bool has(const UniqueFd& table, uint32_t port, Greater* found = nullptr) {
  const weft_verdict_key key{1, port, 0};
  Greater value{};
  value.added = 99;
  const bool is = bpf_map_lookup_elem(table.get(), &key, &value) == 0;
  if (found != nullptr) {
    *found = value;
  }
  return is;
}

uint64_t nowNs() {
  return weft::monotonicMicros() * 1000;
}

}  // namespace

TEST_CASE("verdicts are carried into greater values, and allow for a while only") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Folders folders;
  const TableShape outer = shapeOf(BPF_MAP_TYPE_HASH_OF_MAPS, sizeof kPod, sizeof(uint32_t));
  const MapShape then{outer, verdictsOf(sizeof(weft_verdict))};
  const MapShape now{outer, verdictsOf(sizeof(Greater))};
  const UniqueFd from = pinned(folders.from(), "weft_verdicts", then);
  const UniqueFd old = addTable(from, *then.inner);
  const uint64_t later = nowNs() + kHourNs;
  put(old, 1, WEFT_ALLOW, later);
  put(old, 2, WEFT_DENY, later);
  put(old, 3, WEFT_ALLOW, 5);
  Carry carry(folders.from(), folders.to(), {{"weft_verdicts", now}});
  REQUIRE(carry.share().ok());
  CHECK_FALSE(openPinned(folders.to().map("weft_verdicts")).ok());
  const UniqueFd to = pinned(folders.to(), "weft_verdicts", now);
  REQUIRE(carry.fill().ok());

  const UniqueFd table = tableOf(to);
  Greater allowed{};
  Greater denied{};
  Greater expired{};
  REQUIRE(has(table, 1, &allowed));
  REQUIRE(has(table, 2, &denied));
  REQUIRE(has(table, 3, &expired));
  CHECK(allowed.old.action == WEFT_ALLOW);
  CHECK(allowed.old.expires_ns <= nowNs() + kCarriedVerdictNs);
  CHECK(allowed.old.expires_ns > nowNs());
  CHECK(allowed.added == 0);
  CHECK(denied.old.action == WEFT_DENY);
  CHECK(denied.old.expires_ns == later);
  CHECK(expired.old.expires_ns == 5);

  put(old, 4, WEFT_DENY, later);
  const weft_verdict_key gone{1, 2, 0};
  REQUIRE(bpf_map_delete_elem(old.get(), &gone) == 0);
  carry.settle();
  CHECK(has(table, 1));
  CHECK_FALSE(has(table, 2));
  CHECK(has(table, 4));
}

TEST_CASE("a table that was replaced meanwhile leaves nothing behind") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Folders folders;
  const TableShape outer = shapeOf(BPF_MAP_TYPE_HASH_OF_MAPS, sizeof kPod, sizeof(uint32_t));
  const MapShape then{outer, verdictsOf(sizeof(weft_verdict))};
  const MapShape now{outer, verdictsOf(sizeof(Greater))};
  const UniqueFd from = pinned(folders.from(), "weft_verdicts", then);
  put(addTable(from, *then.inner), 1, WEFT_ALLOW, nowNs() + kHourNs);
  Carry carry(folders.from(), folders.to(), {{"weft_verdicts", now}});
  const UniqueFd to = pinned(folders.to(), "weft_verdicts", now);
  REQUIRE(carry.fill().ok());
  REQUIRE(has(tableOf(to), 1));
  addTable(from, *then.inner);  // what policy says now, which nobody could tell the new programs
  carry.settle();
  CHECK_FALSE(tableOf(to));
}

TEST_CASE("what has the same shape is the same map, and what shrinks loses its end") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Folders folders;
  const MapShape same{shapeOf(BPF_MAP_TYPE_HASH, sizeof kPod, 8), std::nullopt};
  const MapShape great{shapeOf(BPF_MAP_TYPE_HASH, sizeof kPod, 16), std::nullopt};
  const UniqueFd kept = pinned(folders.from(), "kept", same);
  const UniqueFd shrinks = pinned(folders.from(), "shrinks", great);
  const std::array<uint64_t, 2> value{3, 4};
  REQUIRE(bpf_map_update_elem(shrinks.get(), &kPod, value.data(), BPF_ANY) == 0);
  Carry carry(folders.from(), folders.to(), {{"kept", same}, {"shrinks", same}, {"new", same}});
  REQUIRE(carry.share().ok());
  REQUIRE(openPinned(folders.to().map("kept")).ok());
  const UniqueFd smaller = pinned(folders.to(), "shrinks", same);
  REQUIRE(carry.fill().ok());
  uint64_t seen = 0;
  REQUIRE(bpf_map_lookup_elem(smaller.get(), &kPod, &seen) == 0);
  CHECK(seen == 3);
  REQUIRE(bpf_map_update_elem(kept.get(), &kPod, value.data(), BPF_ANY) == 0);
  const UniqueFd again = std::move(openPinned(folders.to().map("kept"))).value();
  CHECK(bpf_map_lookup_elem(again.get(), &kPod, &seen) == 0);
}

TEST_CASE("other layouts are found, the newest first, and drafts are none") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Folders folders;
  CHECK(folders.from().others().empty());
  const std::string root = folders.from().root();
  for (const char* name : {"/v900", "/v1001", "/v1002_new", "/vx", "/w7"}) {
    REQUIRE(::mkdir((root + name).c_str(), 0700) == 0);
  }
  const std::vector<Pins> others = folders.from().others();
  REQUIRE(others.size() == 2);
  CHECK(others[0].version() == root + "/v1001");
  CHECK(others[1].version() == root + "/v900");
  for (const char* name : {"/vx", "/w7"}) {
    CHECK(::rmdir((root + name).c_str()) == 0);
  }
}

TEST_CASE("slots are the same as long as sockets remember theirs") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const MapShape slots{shapeOf(BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(weft_slots)),
                       std::nullopt};
  for (const bool isKept : {true, false}) {
    const Folders folders;
    const MapShape then{shapeOf(BPF_MAP_TYPE_HASH, sizeof kPod, 8), std::nullopt};
    const MapShape now{shapeOf(BPF_MAP_TYPE_HASH, sizeof kPod, isKept ? 8 : 16), std::nullopt};
    pinned(folders.from(), "weft_sockets", then);
    pinned(folders.from(), "weft_slots", slots);
    const Carry carry(folders.from(), folders.to(), {{"weft_sockets", now}, {"weft_slots", slots}});
    REQUIRE(carry.share().ok());
    CHECK(openPinned(folders.to().map("weft_slots")).ok() == isKept);
  }
}
