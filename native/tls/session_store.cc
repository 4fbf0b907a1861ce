// SPDX-License-Identifier: Apache-2.0
#include "tls/session_store.h"

#include <utility>

namespace weft::tls {

void SessionStore::drop(Place place) {
  const auto found = byKey_.find(place->key);
  std::erase(found->second, place);
  if (found->second.empty()) {
    byKey_.erase(found);
  }
  order_.erase(place);
}

void SessionStore::put(const std::string& key, StoredSession session) {
  if (sessionsMax_ == 0 || perKeyMax_ == 0) {
    return;
  }
  const auto found = byKey_.find(key);
  if (found != byKey_.end() && found->second.size() >= perKeyMax_) {
    drop(found->second.front());
  } else if (order_.size() >= sessionsMax_) {
    drop(order_.begin());
  }
  order_.push_back({key, std::move(session)});
  byKey_[key].push_back(std::prev(order_.end()));
}

std::optional<StoredSession> SessionStore::take(const std::string& key) {
  const auto found = byKey_.find(key);
  if (found == byKey_.end()) {
    return std::nullopt;
  }
  const Place newest = found->second.back();
  StoredSession session = std::move(newest->session);
  drop(newest);
  return session;
}

}  // namespace weft::tls
