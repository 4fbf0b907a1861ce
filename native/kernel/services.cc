// SPDX-License-Identifier: Apache-2.0
#include "kernel/services.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace weft::kernel {
namespace {

weft_service_key keyOf(const Endpoint& at) {
  return {toAbi(at.ip), at.port, 0};
}

/// All keys of a map. Collected first: one that is deleted on the way begins the walk anew.
template <typename Key>
std::vector<Key> keysOf(int map, size_t max) {
  std::vector<Key> all;
  Key key{};
  for (const void* previous = nullptr;
       all.size() < max && bpf_map_get_next_key(map, previous, &key) == 0; previous = &key) {
    all.push_back(key);
  }
  return all;
}

}  // namespace

Result<KernelServices> KernelServices::open(const Pins& pins) {
  KernelServices services;
  const std::pair<UniqueFd&, const char*> all[] = {{services.services_, "weft_services"},
                                                   {services.picks_, "weft_picks"}};
  for (const auto& [fd, name] : all) {
    Result<UniqueFd> opened = openPinned(pins.map(name));
    if (!opened.ok()) {
      return opened.status();
    }
    fd = std::move(opened).value();
  }
  services.recover();
  return services;
}

/// Tables are named by the time, so that two processes, of which one takes over from the other, do
/// not name theirs alike. Places of a table that was never led to are taken away.
void KernelServices::recover() {
  nextTable_ = monotonicMicros() * 1000;
  std::map<uint64_t, Endpoint> tables;
  for (const auto& key : keysOf<weft_service_key>(services_.get(), WEFT_SERVICES_MAX)) {
    weft_service service{};
    if (bpf_map_lookup_elem(services_.get(), &key, &service) == 0) {
      const Endpoint at{fromAbi(key.ip), static_cast<uint16_t>(key.port)};
      published_[at] = {service.table, service.count, {}};
      tables.emplace(service.table, at);
    }
  }
  for (const auto& key : keysOf<weft_pick_key>(picks_.get(), WEFT_PICKS_MAX)) {
    if (!tables.contains(key.table)) {
      bpf_map_delete_elem(picks_.get(), &key);
    }
  }
}

Status KernelServices::publish(const io::ServiceTables& tables) {
  // What goes makes room.
  std::vector<Endpoint> gone;
  for (const auto& [at, published] : published_) {
    if (!tables.contains(at)) {
      gone.push_back(at);
    }
  }
  for (const Endpoint& at : gone) {
    remove(at);
  }
  Status first;
  for (const auto& [at, picks] : tables) {
    const auto before = published_.find(at);
    if (before != published_.end() && before->second.picks == picks) {
      continue;
    }
    Status status = put(at, picks);
    if (!status.ok() && before != published_.end()) {
      remove(at);  // it would be a wrong one, and its room may do for the new one
      status = put(at, picks);
    }
    if (!status.ok() && first.ok()) {
      first = std::move(status);
    }
  }
  return first;
}

Status KernelServices::put(const Endpoint& at, const io::ServicePicks& picks) {
  const uint64_t table = nextTable_++;
  for (size_t i = 0; i < picks.size(); i++) {
    const weft_pick_key key{table, static_cast<uint32_t>(i), 0};
    const io::ServicePick& pick = picks[i];
    const weft_pick place{toAbi(pick.target.ip), pick.target.port, pick.keep, pick.other, 0};
    if (bpf_map_update_elem(picks_.get(), &key, &place, BPF_ANY) != 0) {
      const int error = errno;
      removePicks(table, i);
      return bpfError("the endpoints of " + at.toString(), error);
    }
  }
  const weft_service_key key = keyOf(at);
  const weft_service service{table, static_cast<uint32_t>(picks.size()), 0};
  if (bpf_map_update_elem(services_.get(), &key, &service, BPF_ANY) != 0) {
    const int error = errno;
    removePicks(table, picks.size());
    return bpfError("the service at " + at.toString(), error);
  }
  const Published old = std::exchange(published_[at], {table, picks.size(), picks});
  removePicks(old.table, old.places);
  return {};
}

void KernelServices::remove(const Endpoint& at) {
  const auto found = published_.find(at);
  if (found == published_.end()) {
    return;
  }
  const weft_service_key key = keyOf(at);
  bpf_map_delete_elem(services_.get(), &key);
  removePicks(found->second.table, found->second.places);
  published_.erase(found);
}

void KernelServices::removePicks(uint64_t table, size_t places) {
  for (size_t i = 0; i < places; i++) {
    const weft_pick_key key{table, static_cast<uint32_t>(i), 0};
    bpf_map_delete_elem(picks_.get(), &key);
  }
}

}  // namespace weft::kernel
