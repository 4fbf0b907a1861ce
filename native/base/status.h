// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/check.h"

namespace weft {

/// Why an operation failed. A closed set: metrics and the access log name failures by it.
enum class Code {
  kOk,
  kInvalid,      ///< The input breaks its format. Never retried.
  kLimit,        ///< The input is well formed, but over a named limit.
  kDenied,       ///< Identity or policy says no.
  kUnavailable,  ///< The other side cannot be reached now.
  kTimeout,      ///< It took longer than its named limit.
  kConflict,     ///< Somebody else holds it.
  kClosed,       ///< The other side ended it.
  kInternal,     ///< The kernel or a library refused; the message carries errno or its text.
};

/// The stable name of `code`, for logs and metrics ("invalid", "limit", ...).
const char* nameOf(Code code);

/// Success, or a code with a sentence for a person. Cheap when ok: no allocation.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  /// A kInternal status, or kConflict for EADDRINUSE: "what: strerror(error)".
  static Status fromErrno(const char* what, int error);

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

/// A value, or the status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) { CHECK(!status_.ok()); }  // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & {
    CHECK(ok());
    return *value_;
  }
  const T& value() const& {
    CHECK(ok());
    return *value_;
  }
  T&& value() && {
    CHECK(ok());
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace weft
