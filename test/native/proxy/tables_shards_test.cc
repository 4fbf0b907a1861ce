// SPDX-License-Identifier: Apache-2.0
#include "proxy/tables_shards.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <string_view>

namespace weft::proxy {
namespace {

struct ByText {
  size_t operator()(int key) const { return std::hash<std::string>{}(std::to_string(key)); }
};
using Map = ShardedMap<int, std::string, ByText>;

Map withNumbers(int count) {
  Map::Editor editor{Map()};
  for (int i = 0; i < count; i++) {
    editor.set(i, std::to_string(i));
  }
  return std::move(editor).finish();
}

TEST_CASE("an empty map finds nothing and has no parts") {
  const Map map;
  CHECK(map.find(1) == nullptr);
  CHECK(map.size() == 0);
  CHECK(map.shardCount() == 0);
}

TEST_CASE("keys spread over all parts") {
  const Map map = withNumbers(10'000);
  CHECK(map.size() == 10'000);
  CHECK(map.shardCount() == Map::kShards);
  CHECK(*map.find(9'999) == "9999");
  CHECK(map.find(10'000) == nullptr);
}

TEST_CASE("an edit copies the part it touches and shares the others") {
  const Map before = withNumbers(10'000);
  Map::Editor editor(before);
  editor.set(5, "five");
  const Map after = std::move(editor).finish();
  CHECK(after.sharedWith(before) == Map::kShards - 1);
  CHECK(*before.find(5) == "5");
  CHECK(*after.find(5) == "five");
  CHECK(after.size() == before.size());
}

TEST_CASE("a value in a shared part keeps its address") {
  const Map before = withNumbers(10'000);
  Map::Editor editor(before);
  editor.set(5, "five");
  const Map after = std::move(editor).finish();
  int moved = 0;
  for (int i = 0; i < 10'000; i++) {
    moved += before.find(i) == after.find(i) ? 0 : 1;
  }
  CHECK(moved > 0);
  CHECK(moved < 200);
}

TEST_CASE("the removal of what is not there copies nothing") {
  const Map before = withNumbers(1'000);
  Map::Editor editor(before);
  editor.erase(1'000'000);
  const Map after = std::move(editor).finish();
  CHECK(after.sharedWith(before) == before.shardCount());
  CHECK(after.size() == 1'000);
}

TEST_CASE("a map whose last entry went has no parts, and takes entries again") {
  Map::Editor editor(withNumbers(1));
  editor.erase(0);
  CHECK(editor.size() == 0);
  CHECK(editor.find(0) == nullptr);
  editor.set(0, "again");
  editor.erase(0);
  CHECK(std::move(editor).finish().shardCount() == 0);
}

TEST_CASE("a key that views its value moves to the new value when that is replaced") {
  using Views = ShardedMap<std::string_view, std::shared_ptr<const std::string>>;
  Views::Editor first{Views()};
  const auto one = std::make_shared<const std::string>("key");
  first.set(*one, one);
  Views map = std::move(first).finish();
  {
    Views::Editor second(map);
    const auto two = std::make_shared<const std::string>("key");
    second.set(*two, two);
    map = std::move(second).finish();
  }
  CHECK(one.use_count() == 1);
  CHECK(**map.find("key") == "key");
}

}  // namespace
}  // namespace weft::proxy
