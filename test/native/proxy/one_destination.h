// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "io/capture.h"

namespace weft::test {

/// A stand-in for capture: whatever is connected to was on its way to one destination. What is real
/// is tested where there is netfilter or a kernel that takes programs.
class OneDestination final : public io::Captures {
 public:
  explicit OneDestination(const Endpoint& to) : to_(to) {}

  std::shared_ptr<io::Capture> of(int) override { return std::make_shared<Row>(to_); }

 private:
  class Row final : public io::Capture {
   public:
    explicit Row(const Endpoint& to) : to_(to) {}
    Status serve(int, uint16_t) override { return {}; }
    std::optional<io::Origin> outboundDst(int, const Endpoint&) override { return io::Origin{to_}; }
    std::optional<Endpoint> inboundDst(int) override { return to_; }
    uint32_t returnMark() const override { return 0; }

   private:
    const Endpoint to_;
  };

  const Endpoint to_;
};

}  // namespace weft::test
