// SPDX-License-Identifier: Apache-2.0
// What a map looks like to those who share it.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
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
/// All keys of a map, in order. One in which keys come and go meanwhile may be seen in part.
std::vector<Key> keysOf(int map, const TableShape& shape);

}  // namespace weft::kernel
