// SPDX-License-Identifier: Apache-2.0
#include "tls/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "tls/session_rows.h"

namespace weft::tls {
namespace {

std::unique_ptr<Session> newSession(std::shared_ptr<const Identity> own,
                                    ExpectedIdentities expected, SessionContext& context, Role role,
                                    Resumption resumption) {
  const auto make = context.row == SessionRow::kRecord ? newRecordSession : newLibrarySession;
  return make(std::move(own), std::move(expected), context, role, std::move(resumption));
}

}  // namespace

void Session::write(std::span<const uint8_t> plain) {
  while (!plain.empty()) {
    const std::span<uint8_t> room = reserve(1);
    const size_t n = std::min(room.size(), plain.size());
    std::memcpy(room.data(), plain.data(), n);
    commit(n);
    plain = plain.subspan(n);
  }
}

std::unique_ptr<Session> newClientSession(std::shared_ptr<const Identity> own,
                                          ExpectedIdentities expected, SessionContext& context,
                                          Resumption resumption) {
  CHECK(!expected.empty());
  return newSession(std::move(own), std::move(expected), context, Role::kClient,
                    std::move(resumption));
}

std::unique_ptr<Session> newServerSession(std::shared_ptr<const Identity> own,
                                          SessionContext& context) {
  return newSession(std::move(own), {}, context, Role::kServer, {});
}

}  // namespace weft::tls
