// SPDX-License-Identifier: Apache-2.0
// Maps of one layout and of another, pinned below a folder of a test's own. Needs root.
#pragma once

#include <bpf/bpf.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "kernel/map_shape.h"
#include "kernel/pins.h"

namespace weft::test {

/// Folders for the old layout and the new one, and what is pinned there.
class Folders {
 public:
  Folders() {
    char folder[] = "/tmp/weft-carry-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    root_ = folder;
    REQUIRE(from().make().ok());
    REQUIRE(to().make().ok());
  }
  ~Folders() { CHECK(from().remove().ok()); }

  kernel::Pins from() const { return kernel::Pins(root_); }
  kernel::Pins to() const { return from().draft(); }

 private:
  std::string root_;
};

/// A new map of this shape, pinned there by its name.
inline UniqueFd pinned(const kernel::Pins& pins, const char* name, const kernel::MapShape& shape) {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = shape.own.flags;
  UniqueFd inner;
  if (shape.inner.has_value()) {
    inner = std::move(kernel::makeTable(*shape.inner)).value();
    options.inner_map_fd = static_cast<uint32_t>(inner.get());
  }
  UniqueFd map(bpf_map_create(static_cast<bpf_map_type>(shape.own.type), "weft_test",
                              shape.own.keyBytes, shape.own.valueBytes, shape.own.entriesMax,
                              &options));
  REQUIRE(map);
  REQUIRE(bpf_obj_pin(map.get(), pins.map(name).c_str()) == 0);
  return map;
}

}  // namespace weft::test
