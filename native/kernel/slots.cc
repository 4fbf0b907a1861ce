// SPDX-License-Identifier: Apache-2.0
#include "kernel/slots.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "kernel/bpf.h"
#include "kernel/map_shape.h"

namespace weft::kernel {
namespace {

/// 0 for what is no map.
uint32_t idOf(int map) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  return bpf_map_get_info_by_fd(map, &info, &size) == 0 ? info.id : 0;
}

/// In one call, since whoever numbers the pods of a full node asks this for each of them.
std::vector<std::pair<uint64_t, weft_pod>> allPods(int map) {
  std::vector<uint64_t> keys(WEFT_PODS_MAX);
  std::vector<weft_pod> pods(WEFT_PODS_MAX);
  uint32_t count = WEFT_PODS_MAX;
  uint32_t place = 0;
  std::vector<std::pair<uint64_t, weft_pod>> all;
  // It says ENOENT when it has come to the end.
  if (bpf_map_lookup_batch(map, nullptr, &place, keys.data(), pods.data(), &count, nullptr) != 0 &&
      errno != ENOENT) {
    return all;
  }
  for (uint32_t i = 0; i < count; i++) {
    all.emplace_back(keys[i], pods[i]);
  }
  return all;
}

}  // namespace

Result<Slots> Slots::open(const Pins& pins) {
  Result<UniqueFd> pods = openPinned(pins.map("weft_pods"));
  Result<UniqueFd> directs = openPinned(pins.map("weft_directs"));
  Result<UniqueFd> slots = openPinned(pins.map("weft_slots"));
  for (const Result<UniqueFd>* each : {&pods, &directs, &slots}) {
    if (!each->ok()) {
      return each->status();
    }
  }
  return Slots(std::move(pods).value(), std::move(directs).value(), std::move(slots).value());
}

uint32_t Slots::unused() const {
  std::vector<bool> isUsed(WEFT_PODS_MAX + 1);
  for (const auto& [key, pod] : allPods(pods_.get())) {
    if (pod.slots <= WEFT_PODS_MAX) {
      isUsed[pod.slots] = true;
    }
  }
  uint32_t best = 0;
  uint32_t fewest = UINT32_MAX;
  for (uint32_t number = 1; number <= WEFT_PODS_MAX && fewest > 0; number++) {
    weft_slots slots{};
    if (!isUsed[number] && bpf_map_lookup_elem(slots_.get(), &number, &slots) == 0 &&
        slots.taken < fewest) {
      best = number;
      fewest = slots.taken;
    }
  }
  return best;
}

bool Slots::isSame(const Pins& old) const {
  const Result<UniqueFd> before = openPinned(old.map("weft_slots"));
  return before.ok() && idOf(before.value().get()) == idOf(slots_.get());
}

/// One for each entry of the pod's table.
Status Slots::take(uint64_t pod, uint32_t number) const {
  uint32_t id = 0;
  const bool isThere = bpf_map_lookup_elem(directs_.get(), &pod, &id) == 0;
  const UniqueFd table(isThere ? bpf_map_get_fd_by_id(id) : -1);
  if (!table) {
    return {};
  }
  const Result<MapShape> shape = shapeOf(table.get());
  if (!shape.ok()) {
    return shape.status();
  }
  weft_slots slots{};
  slots.taken = static_cast<uint32_t>(keysOf(table.get(), shape.value().own).size());
  return bpf_map_update_elem(slots_.get(), &number, &slots, BPF_ANY) == 0
             ? Status{}
             : bpfError("count direct connections", errno);
}

Status Slots::carry(const Pins& old) const {
  const bool isAnew = !isSame(old);
  for (auto [key, pod] : allPods(pods_.get())) {
    const bool hadNone = pod.slots == 0;
    if (hadNone) {
      pod.slots = unused();
      if (bpf_map_update_elem(pods_.get(), &key, &pod, BPF_EXIST) != 0) {
        return bpfError("number a pod", errno);
      }
    }
    if (isAnew || hadNone) {
      if (Status status = take(key, pod.slots); !status.ok()) {
        return status;
      }
    }
  }
  return {};
}

}  // namespace weft::kernel
