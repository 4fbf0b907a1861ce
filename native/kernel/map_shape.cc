// SPDX-License-Identifier: Apache-2.0
#include "kernel/map_shape.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <set>

#include "kernel/bpf.h"

namespace weft::kernel {
namespace {

/// How often a map is gone through.
constexpr size_t kRoundsMax = 4;

bool holdsTables(uint32_t type) {
  return type == BPF_MAP_TYPE_HASH_OF_MAPS || type == BPF_MAP_TYPE_ARRAY_OF_MAPS;
}

TableShape shapeIn(const bpf_map* map) {
  return {bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map),
          bpf_map__max_entries(map), bpf_map__map_flags(map)};
}

Result<TableShape> tableShape(int map) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  if (bpf_map_get_info_by_fd(map, &info, &size) != 0) {
    return bpfError("the shape of a map", errno);
  }
  return TableShape{info.type, info.key_size, info.value_size, info.max_entries, info.map_flags};
}

}  // namespace

Result<MapShape> shapeOf(int map) {
  const Result<TableShape> own = tableShape(map);
  if (!own.ok()) {
    return own.status();
  }
  MapShape shape{own.value(), std::nullopt};
  std::vector<uint8_t> key(shape.own.keyBytes);
  uint32_t id = 0;
  if (!holdsTables(shape.own.type) || bpf_map_get_next_key(map, nullptr, key.data()) != 0 ||
      bpf_map_lookup_elem(map, key.data(), &id) != 0) {
    return shape;
  }
  const UniqueFd table(bpf_map_get_fd_by_id(id));
  const Result<TableShape> inner =
      table ? tableShape(table.get()) : Status{Code::kUnavailable, "the table went"};
  if (inner.ok()) {
    shape.inner = inner.value();
  }
  return shape;
}

Result<std::map<std::string, MapShape>> sharedShapes(const std::vector<BpfObject>& objects) {
  std::map<std::string, MapShape> all;
  for (const BpfObject& object : objects) {
    const ObjectPtr opened(bpf_object__open_mem(object.elf.data(), object.elf.size(), nullptr));
    if (opened == nullptr) {
      return bpfError(std::string("open ") + object.name, errno);
    }
    const bpf_map* map = nullptr;
    bpf_object__for_each_map(map, opened.get()) {
      if (bpf_map__pin_path(map) == nullptr) {
        continue;  // its own alone
      }
      MapShape& shape = all[bpf_map__name(map)];
      shape.own = shapeIn(map);
      if (const bpf_map* inner = bpf_map__inner_map(const_cast<bpf_map*>(map)); inner != nullptr) {
        shape.inner = shapeIn(inner);
      }
    }
  }
  return all;
}

Result<UniqueFd> makeTable(const TableShape& shape) {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = shape.flags;
  UniqueFd table(bpf_map_create(static_cast<bpf_map_type>(shape.type), "weft_of_pod",
                                shape.keyBytes, shape.valueBytes, shape.entriesMax, &options));
  if (!table) {
    return bpfError("a pod's table", errno);
  }
  return table;
}

std::vector<Key> keysBy(const NextKey& next, size_t keyBytes, size_t most) {
  std::set<Key, KeyLess> all;
  Key key(keyBytes);
  const void* previous = nullptr;
  for (size_t asked = 0; asked < most && next(previous, key.data()); asked++) {
    previous = key.data();
    all.insert(key);
  }
  return {all.begin(), all.end()};
}

std::vector<Key> keysOf(int map, const TableShape& shape) {
  const auto next = [map](const void* previous, void* key) {
    return bpf_map_get_next_key(map, previous, key) == 0;
  };
  return keysBy(next, shape.keyBytes, kRoundsMax * shape.entriesMax);
}

}  // namespace weft::kernel
