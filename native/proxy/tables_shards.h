// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

namespace weft::proxy {

/// A hash map in kShards parts that copies of it share. Immutable; a changed version is made by an
/// Editor and copies the parts that changed, no others. A key may be a view into its own value.
template <typename Key, typename Value, typename Hash = std::hash<Key>>
class ShardedMap {
 public:
  static constexpr size_t kShards = 256;

  /// The value of `key`, or null. Valid as long as any map that shares the part it is in.
  const Value* find(const Key& key) const {
    const Shard* shard = shards_[indexOf(key)].get();
    if (shard == nullptr) {
      return nullptr;
    }
    const auto found = shard->find(key);
    return found == shard->end() ? nullptr : &found->second;
  }

  size_t size() const { return size_; }

  /// Parts that hold something.
  size_t shardCount() const {
    size_t count = 0;
    for (const auto& shard : shards_) {
      count += shard != nullptr ? 1 : 0;
    }
    return count;
  }

  /// Parts that are the same memory in both maps.
  size_t sharedWith(const ShardedMap& other) const {
    size_t count = 0;
    for (size_t i = 0; i < kShards; i++) {
      count += shards_[i] != nullptr && shards_[i] == other.shards_[i] ? 1 : 0;
    }
    return count;
  }

  class Editor;

 private:
  using Shard = std::unordered_map<Key, Value, Hash>;

  // The top byte: the shard's own buckets are chosen by what is left of the hash.
  static size_t indexOf(const Key& key) { return Hash{}(key) >> (8 * (sizeof(size_t) - 1)); }

  std::array<std::shared_ptr<const Shard>, kShards> shards_;
  size_t size_ = 0;
};

/// Builds the next version of a map. One thread; the map it started from never changes.
template <typename Key, typename Value, typename Hash>
class ShardedMap<Key, Value, Hash>::Editor {
 public:
  explicit Editor(const ShardedMap& base) : map_(base) {}

  /// The value as edited so far, or null. Valid until the next set() or erase().
  const Value* find(const Key& key) const { return map_.find(key); }
  size_t size() const { return map_.size_; }

  /// Adds or replaces. The stored key is this one from now on, also when an equal one was there.
  void set(const Key& key, Value value) {
    Shard& shard = writable(indexOf(key));
    map_.size_ -= shard.erase(key);
    shard.emplace(key, std::move(value));
    map_.size_++;
  }

  /// Nothing happens, and nothing is copied, when there is no such key.
  void erase(const Key& key) {
    const size_t index = indexOf(key);
    if (map_.find(key) == nullptr) {
      return;
    }
    Shard& shard = writable(index);
    shard.erase(key);
    map_.size_--;
    if (shard.empty()) {
      map_.shards_[index] = nullptr;
      own_[index] = nullptr;
    }
  }

  /// The finished map. The editor is spent.
  ShardedMap finish() && { return std::move(map_); }

 private:
  Shard& writable(size_t index) {
    if (own_[index] == nullptr) {
      const auto& old = map_.shards_[index];
      auto copy = old == nullptr ? std::make_shared<Shard>() : std::make_shared<Shard>(*old);
      own_[index] = copy.get();
      map_.shards_[index] = std::move(copy);
    }
    return *own_[index];
  }

  ShardedMap map_;
  std::array<Shard*, kShards> own_{};  // The shards this editor made, which no one else sees yet.
};

}  // namespace weft::proxy
