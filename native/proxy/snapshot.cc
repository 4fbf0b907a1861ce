// SPDX-License-Identifier: Apache-2.0
#include "proxy/snapshot.h"

#include <utility>

namespace weft::proxy {

bool Snapshot::hasRoom() {
  if (entries_ == entriesMax_) {
    omitted_++;
    return false;
  }
  entries_++;
  return true;
}

void Snapshot::add(const std::string& podUid, const ConnectionInfo& info, bool opened) {
  if (hasRoom()) {
    // A snapshot and a batch of events have the same field for connections.
    encodeConnectionEvent(opened ? EventKind::kOpened : EventKind::kRefused, podUid, info, {},
                          nowMicros_, bytes_);
  }
}

void Snapshot::add(const std::string& podUid, const TunnelInfo& info) {
  if (hasRoom()) {
    encodeTunnel(podUid, info, nowMicros_, bytes_);
  }
}

std::string Snapshot::take() {
  if (omitted_ > 0) {
    encodeDropped(std::exchange(omitted_, 0), bytes_);
  }
  entries_ = 0;
  return std::exchange(bytes_, {});
}

}  // namespace weft::proxy
