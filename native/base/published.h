// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace weft {

/// An immutable value that threads share and any of them may replace as a whole. Thread safe; the
/// lock is held for the copy of a pointer.
template <typename T>
class Published {
 public:
  /// Null before the first replace().
  std::shared_ptr<const T> get() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  /// Puts `next` in the place of `expected`. False, and nothing done, when another thread was
  /// first.
  bool replace(const std::shared_ptr<const T>& expected, std::shared_ptr<const T> next) {
    const std::lock_guard lock(mutex_);
    if (value_ != expected) {
      return false;
    }
    value_.swap(next);
    return true;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const T> value_;
};

}  // namespace weft
