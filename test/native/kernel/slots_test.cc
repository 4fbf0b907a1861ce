// SPDX-License-Identifier: Apache-2.0
// The numbers of pods, in maps of the test's own. Needs root.
#include "kernel/slots.h"

#include <bpf/bpf.h>
#include <doctest/doctest.h>

#include <string>

#include "kernel/bpf.h"
#include "kernel/pinned_maps.h"
#include "kernel/scratch_node.h"

using weft::UniqueFd;
using weft::kernel::makeTable;
using weft::kernel::MapShape;
using weft::kernel::Pins;
using weft::kernel::Slots;
using weft::kernel::TableShape;
using weft::test::Folders;
using weft::test::pinned;

namespace {

constexpr TableShape kDirects{BPF_MAP_TYPE_HASH, sizeof(weft_tuple), sizeof(weft_direct), 16,
                              BPF_F_NO_PREALLOC};

/// The maps that Slots uses, in one folder.
struct Maps {
  explicit Maps(const Pins& pins)
      : pods(pinned(pins, "weft_pods",
                    {{BPF_MAP_TYPE_HASH, sizeof(uint64_t), sizeof(weft_pod), WEFT_PODS_MAX,
                      BPF_F_NO_PREALLOC},
                     std::nullopt})),
        directs(pinned(
            pins, "weft_directs",
            {{BPF_MAP_TYPE_HASH_OF_MAPS, sizeof(uint64_t), sizeof(uint32_t), WEFT_PODS_MAX, 0},
             kDirects})),
        counts(pinned(
            pins, "weft_slots",
            {{BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(weft_slots), WEFT_PODS_MAX + 1, 0},
             std::nullopt})) {}

  /// A pod that has this number, and no table yet.
  void number(uint64_t key, uint32_t number) const {
    weft_pod pod{};
    pod.flags = WEFT_POD_DIRECT;
    pod.slots = number;
    REQUIRE(bpf_map_update_elem(pods.get(), &key, &pod, BPF_ANY) == 0);
  }

  /// A pod that has this number, and so many direct connections in its table. Waits for the kernel,
  /// which lets nobody go on while a table may still be used that was there before.
  void add(uint64_t key, uint32_t number, uint16_t connections) const {
    this->number(key, number);
    const UniqueFd table = std::move(makeTable(kDirects)).value();
    const weft_direct direct{};
    weft_tuple tuple{};
    for (tuple.remote_port = 0; tuple.remote_port < connections; tuple.remote_port++) {
      REQUIRE(bpf_map_update_elem(table.get(), &tuple, &direct, BPF_ANY) == 0);
    }
    const int fd = table.get();
    REQUIRE(bpf_map_update_elem(directs.get(), &key, &fd, BPF_ANY) == 0);
  }

  weft_pod pod(uint64_t key) const {
    weft_pod found{};
    REQUIRE(bpf_map_lookup_elem(pods.get(), &key, &found) == 0);
    return found;
  }

  void take(uint32_t number, uint32_t count) const {
    weft_slots slots{};
    slots.taken = count;
    REQUIRE(bpf_map_update_elem(counts.get(), &number, &slots, BPF_ANY) == 0);
  }

  uint32_t taken(uint32_t number) const {
    weft_slots slots{};
    REQUIRE(bpf_map_lookup_elem(counts.get(), &number, &slots) == 0);
    return slots.taken;
  }

  UniqueFd pods;
  UniqueFd directs;
  UniqueFd counts;
};

Slots slotsOf(const Pins& pins) {
  auto slots = Slots::open(pins);
  REQUIRE(slots.ok());
  return std::move(slots).value();
}

}  // namespace

TEST_CASE("a pod gets the number with the fewest connections that no pod has") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Folders folders;
  const Maps maps(folders.to());
  const Slots slots = slotsOf(folders.to());
  CHECK(slots.unused() == 1);
  maps.add(100, 1, 0);
  maps.take(2, 5);  // of a pod that is gone
  CHECK(slots.unused() == 3);
  for (uint32_t number = 3; number <= WEFT_PODS_MAX; number++) {
    maps.take(number, 7);
  }
  CHECK(slots.unused() == 2);
  maps.add(200, 2, 0);
  CHECK(slots.unused() == 3);
}

TEST_CASE("there is a number for as many pods as there may be, and for no more") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Folders folders;
  const Maps maps(folders.to());
  const Slots slots = slotsOf(folders.to());
  for (uint32_t number = 1; number <= WEFT_PODS_MAX; number++) {
    CHECK(slots.unused() == number);
    maps.number(number, number);
  }
  CHECK(slots.unused() == 0);
}

TEST_CASE("pods of a layout without slots get numbers, and what they have open is counted") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Folders folders;
  const Maps maps(folders.to());
  maps.add(100, 0, 3);
  maps.add(200, 0, 0);
  REQUIRE(slotsOf(folders.to()).carry(folders.from()).ok());
  const weft_pod one = maps.pod(100);
  const weft_pod other = maps.pod(200);
  CHECK(one.slots != 0);
  CHECK(other.slots != 0);
  CHECK(one.slots != other.slots);
  CHECK(one.flags == WEFT_POD_DIRECT);
  CHECK(maps.taken(one.slots) == 3);
  CHECK(maps.taken(other.slots) == 0);
}

TEST_CASE("where slots are counted anew what is open is counted, and else left as it is") {
  if (!weft::test::hasRoot()) {
    return;
  }
  for (const bool isSame : {false, true}) {
    const Folders folders;
    const Maps maps(folders.to());
    const std::string before = folders.from().map("weft_slots");
    if (isSame) {
      REQUIRE(bpf_obj_pin(maps.counts.get(), before.c_str()) == 0);
    }
    maps.add(100, 9, 3);
    maps.take(9, 5);  // two of them are about to connect
    REQUIRE(slotsOf(folders.to()).carry(folders.from()).ok());
    CHECK(maps.pod(100).slots == 9);
    CHECK(maps.taken(9) == (isSame ? 5 : 3));
  }
}

TEST_CASE("there are none where nothing is pinned") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const Folders folders;
  CHECK_FALSE(Slots::open(folders.to()).ok());
}
