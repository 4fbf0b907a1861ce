// SPDX-License-Identifier: Apache-2.0
#include "kernel/carry.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "kernel/bpf.h"

namespace weft::kernel {
namespace {

constexpr const char* kVerdicts = "weft_verdicts";
constexpr const char* kListeners = "weft_listeners";
/// Slots, which go with what sockets remember: who forgot that it has one does not give it back.
constexpr const char* kSlots = "weft_slots";
constexpr const char* kSockets = "weft_sockets";
/// Left behind. What goes past TCP is counted to the byte by those who send it: no copy of it would
/// be right. Endpoints of services change, and nobody could change the copies: the proxy picks.
constexpr std::array<std::string_view, 3> kLeftBehind{"weft_pairs", "weft_picks", "weft_services"};

/// What an allowing verdict becomes where nobody may be able to take it back.
void limit(std::vector<uint8_t>& value) {
  weft_verdict verdict{};
  std::memcpy(&verdict, value.data(), sizeof verdict);
  if (verdict.action == WEFT_ALLOW) {
    const uint64_t latest = monotonicMicros() * 1000 + kCarriedVerdictNs;
    verdict.expires_ns = std::min<uint64_t>(verdict.expires_ns, latest);
    std::memcpy(value.data(), &verdict, sizeof verdict);
  }
}

/// One table into another.
struct Copying {
  const std::string& map;
  int from;
  int to;
  size_t valueBytes;  ///< Of the greater value.
};

/// One entry, if it is there still. `flags` are those of an update.
Status copyEntry(const Copying& how, const Key& key, uint64_t flags) {
  std::vector<uint8_t> value(how.valueBytes);
  if (bpf_map_lookup_elem(how.from, key.data(), value.data()) != 0) {
    return {};
  }
  if (how.map == kVerdicts && value.size() >= sizeof(weft_verdict)) {
    limit(value);
  }
  const bool copied = bpf_map_update_elem(how.to, key.data(), value.data(), flags) == 0;
  return copied || errno == EEXIST ? Status{} : bpfError("carry over " + how.map, errno);
}

/// All entries of keys that both have; the keys that there were, in order.
Result<std::vector<Key>> copyEntries(const std::string& name, int from, int to) {
  const Result<MapShape> then = shapeOf(from);
  const Result<MapShape> now = shapeOf(to);
  if (!then.ok() || !now.ok()) {
    return then.ok() ? now.status() : then.status();
  }
  const TableShape& old = then.value().own;
  if (old.keyBytes != now.value().own.keyBytes) {
    return std::vector<Key>();
  }
  const Copying how{name, from, to, std::max(old.valueBytes, now.value().own.valueBytes)};
  std::vector<Key> keys = keysOf(from, old);
  for (const Key& key : keys) {
    if (Status status = copyEntry(how, key, BPF_ANY); !status.ok()) {
      return status;
    }
  }
  return keys;
}

struct DestroyLink {
  void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};

/// Sockets are carried by a program that runs over the old map.
Status copySockets(int from, int to) {
  const BpfObject object = objects::carry();
  const ObjectPtr opened(bpf_object__open_mem(object.elf.data(), object.elf.size(), nullptr));
  bpf_map* target = opened ? bpf_object__find_map_by_name(opened.get(), "weft_target") : nullptr;
  if (target == nullptr || bpf_map__reuse_fd(target, to) != 0 ||
      bpf_object__load(opened.get()) != 0) {
    return bpfError("carry over listeners", errno);
  }
  bpf_iter_link_info over{};
  over.map.map_fd = static_cast<uint32_t>(from);
  bpf_iter_attach_opts options{};
  options.sz = sizeof options;
  options.link_info = &over;
  options.link_info_len = sizeof over;
  const bpf_program* program = bpf_object__next_program(opened.get(), nullptr);
  const std::unique_ptr<bpf_link, DestroyLink> link(bpf_program__attach_iter(program, &options));
  const UniqueFd run(link ? bpf_iter_create(bpf_link__fd(link.get())) : -1);
  if (!run) {
    return bpfError("carry over listeners", errno);
  }
  std::array<char, 64> nothing{};
  while (::read(run.get(), nothing.data(), nothing.size()) > 0) {
  }
  return {};
}

/// The table of one pod in a map of tables, and its id.
Result<std::pair<UniqueFd, uint32_t>> tableOf(int map, const Key& pod) {
  uint32_t id = 0;
  if (bpf_map_lookup_elem(map, pod.data(), &id) != 0) {
    return Status{Code::kUnavailable, "no table"};
  }
  UniqueFd table(bpf_map_get_fd_by_id(id));
  if (!table) {
    return Status{Code::kUnavailable, "the table went"};
  }
  return std::pair{std::move(table), id};
}

}  // namespace

bool Carry::isForgotten() const {
  const auto now = shapes_.find(kSockets);
  const Result<UniqueFd> old = openPinned(from_.map(kSockets));
  if (now == shapes_.end() || !old.ok()) {
    return true;
  }
  const Result<MapShape> then = shapeOf(old.value().get());
  return !then.ok() || then.value() != now->second;
}

Status Carry::share() const {
  for (const auto& [name, shape] : shapes_) {
    if (name == kSlots && isForgotten()) {
      continue;
    }
    const Result<UniqueFd> old = openPinned(from_.map(name));
    if (!old.ok()) {
      continue;  // it is new
    }
    const Result<MapShape> then = shapeOf(old.value().get());
    if (!then.ok()) {
      return then.status();
    }
    if (then.value() == shape && bpf_obj_pin(old.value().get(), to_.map(name).c_str()) != 0) {
      return bpfError("pin " + to_.map(name), errno);
    }
  }
  return {};
}

Status Carry::fill() {
  for (const auto& [name, now] : shapes_) {
    const Result<UniqueFd> from = openPinned(from_.map(name));
    const Result<UniqueFd> to = openPinned(to_.map(name));
    if (!from.ok() || !to.ok()) {
      continue;
    }
    const Result<MapShape> then = shapeOf(from.value().get());
    if (!then.ok()) {
      return then.status();
    }
    const bool stays = std::find(kLeftBehind.begin(), kLeftBehind.end(), name) != kLeftBehind.end();
    if (then.value() == now || stays || then.value().own.keyBytes != now.own.keyBytes) {
      continue;
    }
    Status filled = fillOne(name, now, from.value().get(), to.value().get());
    if (!filled.ok()) {
      return filled;
    }
  }
  return {};
}

Status Carry::fillOne(const std::string& name, const MapShape& now, int from, int to) {
  switch (now.own.type) {
    case BPF_MAP_TYPE_HASH: {
      const Result<std::vector<Key>> keys = copyEntries(name, from, to);
      return keys.ok() ? Status{} : keys.status();
    }
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return now.inner.has_value() ? fillTables(name, *now.inner, from, to) : Status{};
    case BPF_MAP_TYPE_SOCKHASH:
      // A kernel that cannot has them refused until the proxy listens anew.
      if (name == kListeners) {
        static_cast<void>(copySockets(from, to));
      }
      return {};
    default:
      return {};
  }
}

Status Carry::fillTables(const std::string& name, const TableShape& inner, int from, int to) {
  const Result<MapShape> outer = shapeOf(from);
  if (!outer.ok()) {
    return outer.status();
  }
  for (const Key& pod : keysOf(from, outer.value().own)) {
    const auto old = tableOf(from, pod);
    if (!old.ok()) {
      continue;
    }
    const Result<UniqueFd> table = makeTable(inner);
    if (!table.ok()) {
      return table.status();
    }
    const auto& [oldTable, id] = old.value();
    Result<std::vector<Key>> keys = copyEntries(name, oldTable.get(), table.value().get());
    if (!keys.ok()) {
      return keys.status();
    }
    const int fd = table.value().get();
    if (bpf_map_update_elem(to, pod.data(), &fd, BPF_ANY) != 0) {
      return bpfError("carry over " + name, errno);
    }
    copied_.push_back({name, pod, id, std::move(keys).value()});
  }
  return {};
}

void Carry::settle() const {
  for (const Copied& copied : copied_) {
    const Result<UniqueFd> from = openPinned(from_.map(copied.map));
    const Result<UniqueFd> to = openPinned(to_.map(copied.map));
    if (from.ok() && to.ok()) {
      settleTable(copied, from.value().get(), to.value().get());
    }
  }
}

/// What is wrong is taken away rather than kept: without an entry the proxy is asked.
void Carry::settleTable(const Copied& copied, int from, int to) const {
  const auto old = tableOf(from, copied.pod);
  const auto table = tableOf(to, copied.pod);
  if (!old.ok() || !table.ok() || old.value().second != copied.id) {
    bpf_map_delete_elem(to, copied.pod.data());
    return;
  }
  const int source = old.value().first.get();
  const int target = table.value().first.get();
  const Result<MapShape> then = shapeOf(source);
  const Result<MapShape> now = shapeOf(target);
  if (!then.ok() || !now.ok() || then.value().own.keyBytes != now.value().own.keyBytes) {
    return;
  }
  const Copying how{copied.map, source, target,
                    std::max(then.value().own.valueBytes, now.value().own.valueBytes)};
  const std::vector<Key> left = keysOf(source, then.value().own);
  for (const Key& key : left) {
    if (!std::binary_search(copied.keys.begin(), copied.keys.end(), key, KeyLess())) {
      static_cast<void>(copyEntry(how, key, BPF_NOEXIST));
    }
  }
  for (const Key& key : copied.keys) {
    if (!std::binary_search(left.begin(), left.end(), key, KeyLess())) {
      bpf_map_delete_elem(target, key.data());
    }
  }
}

}  // namespace weft::kernel
