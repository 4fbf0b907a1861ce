// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <cerrno>
#include <cstring>

namespace weft {

const char* nameOf(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kInvalid:
      return "invalid";
    case Code::kLimit:
      return "limit";
    case Code::kDenied:
      return "denied";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kTimeout:
      return "timeout";
    case Code::kConflict:
      return "conflict";
    case Code::kClosed:
      return "closed";
    case Code::kInternal:
      return "internal";
  }
  return "internal";
}

Status Status::fromErrno(const char* what, int error) {
  char text[128];
  return {error == EADDRINUSE ? Code::kConflict : Code::kInternal,
          std::string(what) + ": " + strerror_r(error, text, sizeof text)};
}

}  // namespace weft
