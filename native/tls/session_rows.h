// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "tls/session.h"

namespace weft::tls {

/// The rows behind newClientSession() and newServerSession(). `expected` is empty for a server.
std::unique_ptr<Session> newRecordSession(std::shared_ptr<const Identity> own,
                                          ExpectedIdentities expected, SessionContext& context,
                                          Role role, Resumption resumption);
std::unique_ptr<Session> newLibrarySession(std::shared_ptr<const Identity> own,
                                           ExpectedIdentities expected, SessionContext& context,
                                           Role role, Resumption resumption);

}  // namespace weft::tls
