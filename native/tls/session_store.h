// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tls/verify.h"

namespace weft::tls {

/// A session that a client may resume, with what was proved when it was made.
struct StoredSession {
  bssl::UniquePtr<SSL_SESSION> session;
  PeerIdentity peer;
  int64_t expirySeconds = 0;   ///< An hour after the full handshake, or with the first certificate.
  uint64_t identityEpoch = 0;  ///< Of the identity it was made under: key, certificate and bundle.
};

/// The sessions that a client may resume, by a name of the caller's for the way they go. One per
/// pod and worker, so that no pod is offered another's; not thread safe. Bounded: the oldest make
/// way.
class SessionStore {
 public:
  static constexpr size_t kSessionsPerKeyMax = 4;

  /// With `sessionsMax` 0 it holds none.
  explicit SessionStore(size_t sessionsMax = 1024, size_t perKeyMax = kSessionsPerKeyMax)
      : sessionsMax_(sessionsMax), perKeyMax_(perKeyMax) {}

  void put(const std::string& key, StoredSession session);
  /// The newest session of `key`, which is then no longer held: each is offered once
  /// (RFC 8446 appendix C.4).
  std::optional<StoredSession> take(const std::string& key);
  size_t size() const { return order_.size(); }

 private:
  struct Entry {
    std::string key;
    StoredSession session;
  };
  using Place = std::list<Entry>::iterator;

  void drop(Place place);

  size_t sessionsMax_;
  size_t perKeyMax_;
  std::list<Entry> order_;  // oldest first
  std::map<std::string, std::vector<Place>> byKey_;
};

/// Where a client session looks for a session to resume, and keeps those it is given. Without a
/// store it does neither. `key` also names the peer in SessionContext::groups; an empty one does
/// not. `store` outlives the session.
struct Resumption {
  SessionStore* store = nullptr;
  std::string key;
};

}  // namespace weft::tls
