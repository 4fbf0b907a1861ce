// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weft {

/// A growing linear byte queue: bytes are appended at the end and taken from the front; the space
/// is reused from its start whenever the queue runs empty. Not thread safe. The owner bounds it:
/// the buffer itself has no limit.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  size_t size() const { return end_ - head_; }
  bool empty() const { return head_ == end_; }
  size_t capacity() const { return capacity_; }

  /// The bytes held, oldest first. Valid until the next non-const call.
  std::span<uint8_t> bytes() { return {data_ + head_, size()}; }
  std::span<const uint8_t> bytes() const { return {data_ + head_, size()}; }

  /// At least `n` writable bytes behind the last one; commit() makes what was written there part
  /// of the queue.
  std::span<uint8_t> room(size_t n);
  void commit(size_t n);
  void append(std::span<const uint8_t> more);
  /// Drops the `n` oldest bytes.
  void consume(size_t n);
  /// Gives the memory back when the queue is empty.
  void shrink();

 private:
  uint8_t* data_ = nullptr;
  size_t head_ = 0;
  size_t end_ = 0;
  size_t capacity_ = 0;
};

}  // namespace weft
