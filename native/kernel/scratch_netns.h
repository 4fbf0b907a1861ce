// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/status.h"
#include "base/unique_fd.h"

namespace weft::kernel {

/// A network namespace with a loopback and nothing else, which the thread that makes it is in until
/// it goes. Not on a thread that runs JavaScript. Needs root.
class ScratchNetns {
 public:
  static Result<std::unique_ptr<ScratchNetns>> enter();
  /// On the same thread. Aborts when it cannot go back, since every later socket would be
  /// misplaced.
  ~ScratchNetns();

 private:
  explicit ScratchNetns(UniqueFd home) : home_(std::move(home)) {}

  UniqueFd home_;
};

}  // namespace weft::kernel
