// SPDX-License-Identifier: Apache-2.0
#include "io/capture.h"

#include "io/sys.h"

namespace weft::io {
namespace {

class NetfilterCapture final : public Capture {
 public:
  Status serve(int, uint16_t) override { return {}; }
  std::optional<Origin> outboundDst(int fd, const Endpoint&) override {
    const std::optional<Endpoint> to = netfilterOriginalDst(fd);
    return to.has_value() ? std::optional(Origin{*to}) : std::nullopt;
  }
  std::optional<Endpoint> inboundDst(int fd) override { return netfilterOriginalDst(fd); }
  uint32_t returnMark() const override { return 0; }
};

}  // namespace

std::shared_ptr<Capture> NetfilterCaptures::of(int) {
  static const auto all = std::make_shared<NetfilterCapture>();
  return all;
}

}  // namespace weft::io
