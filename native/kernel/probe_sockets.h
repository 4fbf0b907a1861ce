// SPDX-License-Identifier: Apache-2.0
// What the kernel does with sockets of one network namespace, tried in the scratch places.
#pragma once

#include "base/status.h"
#include "kernel/probe_scratch.h"

namespace weft::kernel {

/// A link holds a program at a network namespace.
Status tryNetnsLink(const ProbeScratch& scratch);
/// A program gives a connection to a listener at another port.
Status tryLookup(const ProbeScratch& scratch);
/// A program that sees what is sent loads, and a map of sockets takes it.
Status tryMessages(const ProbeScratch& scratch);
/// A program is shown the TCP sockets there are.
Status tryIterator(const ProbeScratch& scratch);
/// A program is shown the sockets in a map.
Status tryMapIterator(const ProbeScratch& scratch);
/// A connection can be ended from outside (sock_diag).
Status tryDestroy(const ProbeScratch& scratch);
/// The kernel describes its types.
Status tryTypes();

}  // namespace weft::kernel
