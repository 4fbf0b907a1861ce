// SPDX-License-Identifier: Apache-2.0
#include "io/original_dst.h"

#include "io/sys.h"

namespace weft::io {

std::optional<Endpoint> NetfilterOriginalDst::of(int fd) const {
  return netfilterOriginalDst(fd);
}

}  // namespace weft::io
