// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/deny_list.h"
#include "tls/verify.h"

#include <doctest/doctest.h>
// clang-format on

using weft::tls::canonicalSerial;
using weft::tls::DenyList;
using weft::tls::PeerIdentity;

namespace {

PeerIdentity peer(const char* id, const char* serial) {
  PeerIdentity made;
  made.id = weft::tls::parseSpiffeId(id).value();
  made.serial = serial;
  return made;
}

}  // namespace

TEST_CASE("serial numbers have one form") {
  CHECK(canonicalSerial("0A:bC:00") == "abc00");
  CHECK(canonicalSerial("000abc00") == "abc00");
  CHECK(canonicalSerial("00") == "0");
  CHECK(canonicalSerial("") == "0");
}

TEST_CASE("a peer is denied by its identity or its serial number, and only then") {
  const DenyList list(7, {"SPIFFE://TD/ns/a/sa/b", "no identity"}, {"0A:BC"});
  CHECK(list.epoch() == 7);
  CHECK(list.denies(peer("spiffe://td/ns/a/sa/b", "1")));
  CHECK_FALSE(list.denies(peer("spiffe://td/ns/a/sa/B", "1")));
  CHECK(list.denies(peer("spiffe://td/ns/a/sa/c", "abc")));
  CHECK_FALSE(list.denies(peer("spiffe://td/ns/a/sa/c", "abcd")));
  CHECK(DenyList(1, {}, {}).empty());
  CHECK_FALSE(DenyList(1, {}, {}).denies(peer("spiffe://td/ns/a/sa/c", "0")));
}
