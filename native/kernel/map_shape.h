// SPDX-License-Identifier: Apache-2.0
// What a map looks like to those who share it.
#pragma once

#include <bpf/libbpf.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "kernel/objects.h"

namespace weft::kernel {

/// The shape of a map, or of the tables in a map of tables.
struct TableShape {
  uint32_t type = 0;
  uint32_t keyBytes = 0;
  uint32_t valueBytes = 0;
  uint32_t entriesMax = 0;
  uint32_t flags = 0;
  bool operator==(const TableShape&) const = default;
};

struct MapShape {
  TableShape own;
  std::optional<TableShape> inner;  ///< Of a map of tables that holds one.
  bool operator==(const MapShape&) const = default;
};

/// The shape of an open map of the kernel's.
Result<MapShape> shapeOf(int map);

/// The shapes of all maps that these objects share by name. kInternal when one cannot be read.
Result<std::map<std::string, MapShape>> sharedShapes(const std::vector<BpfObject>& objects);

/// A new table of this shape, for a map of tables.
Result<UniqueFd> makeTable(const TableShape& shape);

using Key = std::vector<uint8_t>;
/// The order of keys of one map.
struct KeyLess {
  bool operator()(const Key& a, const Key& b) const {
    return std::memcmp(a.data(), b.data(), std::min(a.size(), b.size())) < 0;
  }
};
/// Writes the key after `previous`, or the first one after null; false at the end.
using NextKey = std::function<bool(const void* previous, void* key)>;
/// The keys that `next` gives, in order and each once, when it was asked `most` times at most.
std::vector<Key> keysBy(const NextKey& next, size_t keyBytes, size_t most);
/// All keys of a map, in order. Where the last one went meanwhile the kernel begins anew, for ever
/// if keys come and go for ever: a map is gone through four times at most.
std::vector<Key> keysOf(int map, const TableShape& shape);

}  // namespace weft::kernel
