// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace weft {

Buffer::Buffer(Buffer&& other) noexcept {
  *this = std::move(other);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(head_, other.head_);
  std::swap(end_, other.end_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

Buffer::~Buffer() {
  std::free(data_);
}

std::span<uint8_t> Buffer::room(size_t n) {
  if (empty()) {
    head_ = end_ = 0;
  }
  if (capacity_ - end_ < n && head_ > 0) {
    std::memmove(data_, data_ + head_, size());
    end_ -= head_;
    head_ = 0;
  }
  if (capacity_ - end_ < n) {
    capacity_ = std::max(capacity_ * 2, end_ + n);
    data_ = static_cast<uint8_t*>(std::realloc(data_, capacity_));
    CHECK(data_ != nullptr);
  }
  return {data_ + end_, capacity_ - end_};
}

void Buffer::commit(size_t n) {
  CHECK(n <= capacity_ - end_);
  end_ += n;
}

void Buffer::append(std::span<const uint8_t> more) {
  if (more.empty()) {
    return;
  }
  std::memcpy(room(more.size()).data(), more.data(), more.size());
  end_ += more.size();
}

void Buffer::consume(size_t n) {
  CHECK(n <= size());
  head_ += n;
}

void Buffer::shrink() {
  if (empty()) {
    std::free(data_);
    data_ = nullptr;
    head_ = end_ = capacity_ = 0;
  }
}

}  // namespace weft
