// SPDX-License-Identifier: Apache-2.0
#include "tls/known_groups.h"

namespace weft::tls {

void KnownGroups::tookClassical(const std::string& peer, int64_t nowSeconds) {
  if (since_.size() >= peersMax_ && !since_.contains(peer)) {
    since_.clear();
  }
  if (peersMax_ > 0) {
    since_[peer] = nowSeconds;
  }
}

// A clock that was set back makes it unknown, too.
bool KnownGroups::classical(const std::string& peer, int64_t nowSeconds) const {
  const auto found = since_.find(peer);
  return found != since_.end() && nowSeconds >= found->second &&
         nowSeconds - found->second < kKnownSeconds;
}

}  // namespace weft::tls
