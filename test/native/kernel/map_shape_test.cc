// SPDX-License-Identifier: Apache-2.0
// What is read of maps, and how far. Needs root, but for the walk over keys.
#include "kernel/map_shape.h"

#include <bpf/bpf.h>
#include <doctest/doctest.h>

#include <cstring>

#include "kernel/objects.h"
#include "kernel/scratch_node.h"
#include "mesh_abi.h"

using weft::kernel::Key;
using weft::kernel::keysBy;
using weft::kernel::keysOf;
using weft::kernel::makeTable;
using weft::kernel::shapeOf;
using weft::kernel::sharedShapes;
using weft::kernel::TableShape;

TEST_CASE("a map whose keys come and go for ever is gone through a while only") {
  size_t asked = 0;
  // As the kernel does where the last key went: another one each time, and never the end.
  const auto endless = [&](const void* previous, void* key) {
    CHECK((previous == nullptr) == (asked == 0));
    asked++;
    std::memcpy(key, &asked, sizeof asked);
    return true;
  };
  CHECK(keysBy(endless, sizeof asked, 64).size() == 64);
  CHECK(asked == 64);
}

TEST_CASE("keys that are seen again are told once, and in order") {
  const uint8_t given[] = {3, 1, 3, 2};
  size_t asked = 0;
  const auto next = [&](const void*, void* key) {
    if (asked == sizeof given) {
      return false;
    }
    *static_cast<uint8_t*>(key) = given[asked++];
    return true;
  };
  CHECK(keysBy(next, 1, 100) == std::vector<Key>{{1}, {2}, {3}});
}

TEST_CASE("all keys of a map are found, and its shape") {
  if (!weft::test::hasRoot()) {
    return;
  }
  const TableShape shape{BPF_MAP_TYPE_HASH, sizeof(uint32_t), sizeof(uint64_t), 1000,
                         BPF_F_NO_PREALLOC};
  const auto table = makeTable(shape);
  REQUIRE(table.ok());
  const int fd = table.value().get();
  CHECK(shapeOf(fd).value().own == shape);
  const uint64_t value = 0;
  for (uint32_t key = 0; key < shape.entriesMax; key++) {
    REQUIRE(bpf_map_update_elem(fd, &key, &value, BPF_ANY) == 0);
  }
  CHECK(keysOf(fd, shape).size() == shape.entriesMax);
}

TEST_CASE("the objects say what their maps look like, those in them, too") {
  const auto shapes =
      sharedShapes({weft::kernel::objects::connect(), weft::kernel::objects::sockops()});
  REQUIRE(shapes.ok());
  const auto& pods = shapes.value().at("weft_pods");
  CHECK(pods.own.type == BPF_MAP_TYPE_HASH);
  CHECK(pods.own.valueBytes == sizeof(weft_pod));
  CHECK_FALSE(pods.inner.has_value());
  const auto& directs = shapes.value().at("weft_directs");
  CHECK(directs.own.type == BPF_MAP_TYPE_HASH_OF_MAPS);
  REQUIRE(directs.inner.has_value());
  CHECK(directs.inner->valueBytes == sizeof(weft_direct));
  CHECK(directs.inner->entriesMax == WEFT_ENTRIES_MAX);
}
