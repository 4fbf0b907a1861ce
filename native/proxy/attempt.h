// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/unique_fd.h"
#include "proxy/balance.h"
#include "proxy/events.h"

namespace weft::proxy {

/// What it takes to try a captured connection again: kept until its other side has taken it.
struct Retry {
  Endpoint asked;                  ///< Where the application wants to go.
  Endpoint picked;                 ///< The service's endpoint that was picked; port 0: none.
  std::vector<std::string> tried;  ///< Uids of endpoints that failed it.
  size_t attempts = 0;             ///< Made so far.
  /// All that was read from the application, at most kRetryBytesMax; then it is not tried again.
  Buffer said;
  bool overrun = false;

  bool possible() const { return !overrun && attempts < kAttemptsMax; }
};

/// A captured connection that looks for its other side.
struct Attempt {
  UniqueFd fd;  ///< Of the application; in no loop.
  ConnectionInfo info;
  std::unique_ptr<Retry> retry;
};

}  // namespace weft::proxy
