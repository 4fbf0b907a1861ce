// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/session_store.h"

#include <doctest/doctest.h>
// clang-format on
#include <string>

using weft::tls::SessionStore;
using weft::tls::StoredSession;

namespace {

StoredSession numbered(int64_t number) {
  StoredSession made;
  made.expirySeconds = number;
  return made;
}

}  // namespace

TEST_CASE("each session is given out once, the newest first, and only by its own name") {
  SessionStore store;
  store.put("a", numbered(1));
  store.put("a", numbered(2));
  store.put("b", numbered(3));
  CHECK_FALSE(store.take("c").has_value());
  CHECK(store.take("a")->expirySeconds == 2);
  CHECK(store.take("a")->expirySeconds == 1);
  CHECK_FALSE(store.take("a").has_value());
  CHECK(store.size() == 1);
}

TEST_CASE("a name keeps its newest four sessions") {
  SessionStore store;
  for (int i = 0; i < 6; i++) {
    store.put("a", numbered(i));
  }
  CHECK(store.size() == SessionStore::kSessionsPerKeyMax);
  for (int i = 5; i > 1; i--) {
    CHECK(store.take("a")->expirySeconds == i);
  }
  CHECK(store.size() == 0);
}

TEST_CASE("how many a name keeps can be set") {
  SessionStore store(10, 1);
  store.put("a", numbered(1));
  store.put("a", numbered(2));
  CHECK(store.size() == 1);
  CHECK(store.take("a")->expirySeconds == 2);
  SessionStore none(10, 0);
  none.put("a", numbered(1));
  CHECK(none.size() == 0);
}

TEST_CASE("a full store gives up its oldest session") {
  SessionStore store(3);
  for (int i = 0; i < 5; i++) {
    store.put(std::to_string(i), numbered(i));
  }
  CHECK(store.size() == 3);
  CHECK_FALSE(store.take("1").has_value());
  CHECK(store.take("2").has_value());
  SessionStore none(0);
  none.put("a", numbered(1));
  CHECK(none.size() == 0);
}
