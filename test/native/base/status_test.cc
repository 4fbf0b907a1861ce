// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <memory>
#include <string>

using weft::Code;
using weft::nameOf;
using weft::Result;
using weft::Status;

TEST_CASE("a status is ok until a code says otherwise") {
  CHECK(Status().ok());
  CHECK(Status().message().empty());
  const Status bad(Code::kLimit, "too long");
  CHECK_FALSE(bad.ok());
  CHECK(bad.code() == Code::kLimit);
  CHECK(bad.message() == "too long");
}

TEST_CASE("every code has its stable name") {
  const std::pair<Code, const char*> names[] = {{Code::kOk, "ok"},
                                                {Code::kInvalid, "invalid"},
                                                {Code::kLimit, "limit"},
                                                {Code::kDenied, "denied"},
                                                {Code::kUnavailable, "unavailable"},
                                                {Code::kTimeout, "timeout"},
                                                {Code::kConflict, "conflict"},
                                                {Code::kClosed, "closed"},
                                                {Code::kInternal, "internal"}};
  for (const auto& [code, name] : names) {
    CHECK(std::string(nameOf(code)) == name);
  }
}

TEST_CASE("an errno becomes a sentence with what was tried") {
  const Status refused = Status::fromErrno("bind", EACCES);
  CHECK(refused.code() == Code::kInternal);
  CHECK(refused.message() == "bind: Permission denied");
  const Status held = Status::fromErrno("bind", EADDRINUSE);
  CHECK(held.code() == Code::kConflict);
  CHECK(held.message() == "bind: Address already in use");
}

TEST_CASE("a result holds a value or the reason for none") {
  Result<std::unique_ptr<int>> good(std::make_unique<int>(7));
  CHECK(good.ok());
  CHECK(good.status().ok());
  CHECK(*good.value() == 7);
  const std::unique_ptr<int> taken = std::move(good).value();
  CHECK(*taken == 7);
  const Result<int> bad(Status(Code::kClosed, "over"));
  CHECK_FALSE(bad.ok());
  CHECK(bad.status().code() == Code::kClosed);
}
