// SPDX-License-Identifier: Apache-2.0
// From the tables of one layout to those of another. Where a map has the same shape in both, both
// have the same map. Where a value grew, what is new in it is zero; where it shrank, its end is
// gone: layouts change their values at the end only. What has another key stays behind.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernel/map_shape.h"
#include "kernel/pins.h"

namespace weft::kernel {

/// How long an allowing verdict holds that was carried into another table: a proxy that knows the
/// old layout cannot take it back. The next proxy puts its own in their place.
inline constexpr uint64_t kCarriedVerdictNs = 60'000'000'000;

/// One change of layout, from the maps in one folder to those in another. One thread.
class Carry {
 public:
  Carry(Pins from, Pins to, std::map<std::string, MapShape> shapes)
      : from_(std::move(from)), to_(std::move(to)), shapes_(std::move(shapes)) {}

  /// Pins maps of the same shape in the new folder, too. To be called before programs are loaded
  /// there, which make those that are missing.
  Status share() const;
  /// Fills what is not shared: tables and listeners. Counters begin anew, and what is told once is
  /// to be told again.
  Status fill();
  /// When programs use the new tables: takes over what was put into the old ones since, and takes
  /// away what went there.
  void settle() const;

 private:
  /// One table that was copied, which had these keys then.
  struct Copied {
    std::string map;
    Key pod;      ///< Its key in a map of tables; else empty.
    uint32_t id;  ///< Its own then.
    std::vector<Key> keys;
  };

  /// Whether sockets lose what programs remember in them.
  bool isForgotten() const;
  Status fillOne(const std::string& name, const MapShape& now, int from, int to);
  Status fillTables(const std::string& name, const TableShape& inner, int from, int to);
  void settleTable(const Copied& copied, int from, int to) const;

  Pins from_;
  Pins to_;
  std::map<std::string, MapShape> shapes_;
  std::vector<Copied> copied_;
};

}  // namespace weft::kernel
