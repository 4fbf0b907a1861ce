// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "base/ip.h"

namespace weft::io {

/// Answers where a captured connection was going. Each way of capture has its own; nothing as an
/// answer makes the caller refuse the connection.
class OriginalDst {
 public:
  virtual ~OriginalDst() = default;
  /// `fd` is an accepted socket. Called by workers, so it must be thread safe.
  virtual std::optional<Endpoint> of(int fd) const = 0;
};

/// Capture by netfilter REDIRECT.
class NetfilterOriginalDst final : public OriginalDst {
 public:
  std::optional<Endpoint> of(int fd) const override;
};

}  // namespace weft::io
