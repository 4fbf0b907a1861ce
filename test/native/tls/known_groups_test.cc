// SPDX-License-Identifier: Apache-2.0
#include "tls/known_groups.h"

#include <doctest/doctest.h>

#include <string>

using weft::tls::KnownGroups;

TEST_CASE("a peer is known for an hour, or until it is forgotten") {
  KnownGroups groups;
  CHECK_FALSE(groups.classical("a", 1000));
  groups.tookClassical("a", 1000);
  CHECK(groups.classical("a", 1000));
  CHECK(groups.classical("a", 1000 + KnownGroups::kKnownSeconds - 1));
  CHECK_FALSE(groups.classical("a", 1000 + KnownGroups::kKnownSeconds));
  CHECK_FALSE(groups.classical("a", 999));
  CHECK_FALSE(groups.classical("b", 1000));
  groups.forget("a");
  CHECK_FALSE(groups.classical("a", 1000));
}

TEST_CASE("one that is full begins anew") {
  KnownGroups groups(3);
  for (int i = 0; i < 3; i++) {
    groups.tookClassical(std::to_string(i), 1);
  }
  groups.tookClassical("2", 2);
  CHECK(groups.size() == 3);
  groups.tookClassical("3", 2);
  CHECK(groups.size() == 1);
  CHECK(groups.classical("3", 2));
  KnownGroups none(0);
  none.tookClassical("a", 1);
  CHECK_FALSE(none.classical("a", 1));
}
