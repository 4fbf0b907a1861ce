// SPDX-License-Identifier: Apache-2.0
// How many direct connections each pod has: programs take a slot for one before it begins, and give
// it back when it ended, so that no table is ever too full for one that was allowed.
#pragma once

#include <cstdint>
#include <utility>

#include "base/status.h"
#include "base/unique_fd.h"
#include "kernel/pins.h"

namespace weft::kernel {

/// The numbers of pods, by which their slots are counted. Programs alone change a count while they
/// are in force. One thread.
class Slots {
 public:
  Slots() = default;
  /// Those of the maps that are pinned there.
  static Result<Slots> open(const Pins& pins);

  /// A number that no pod has, of those with the fewest slots taken: connections of the pod that
  /// had it before are counted with those of the next, until they end. 0 when all are had.
  uint32_t unused() const;
  /// After a change of layout, before a program counts here: gives a number to each pod that has
  /// none. Where slots were counted elsewhere before (`old`), or not at all, those of connections
  /// that are open are taken for as long as the pod has its number, since no program remembers
  /// them.
  Status carry(const Pins& old) const;

 private:
  Slots(UniqueFd pods, UniqueFd directs, UniqueFd slots)
      : pods_(std::move(pods)), directs_(std::move(directs)), slots_(std::move(slots)) {}

  bool isSame(const Pins& old) const;
  Status take(uint64_t pod, uint32_t number) const;

  UniqueFd pods_;
  UniqueFd directs_;
  UniqueFd slots_;
};

}  // namespace weft::kernel
