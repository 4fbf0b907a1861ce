// SPDX-License-Identifier: Apache-2.0
// What the hooks of a cgroup do, each tried with real sockets in the scratch places.
#pragma once

#include "base/status.h"
#include "kernel/probe_scratch.h"

namespace weft::kernel {

/// A connection goes elsewhere than the application said.
Status tryConnect(const ProbeScratch& scratch, bool isV4);
/// getpeername() answers what the program says.
Status tryPeerName(const ProbeScratch& scratch, bool isV4);
/// So does getsockname().
Status tryOwnName(const ProbeScratch& scratch, bool isV4);
/// A datagram of a socket that is not connected goes elsewhere.
Status trySend(const ProbeScratch& scratch, bool isV4);
/// A datagram seems to come from elsewhere.
Status tryReceive(const ProbeScratch& scratch, bool isV4);
/// A program hears of a connection's port before its SYN leaves.
Status trySockops(const ProbeScratch& scratch);
/// A program hears of the close of a socket, and may remember something in it.
Status tryRelease(const ProbeScratch& scratch);
/// Programs know the network namespace, by the number that sockets in it are told.
Status tryNetnsCookie(const ProbeScratch& scratch);
/// A program chooses the error of a refused connect().
Status tryRetval(const ProbeScratch& scratch);
/// What a program says arrives by a ring buffer.
Status tryRing(const ProbeScratch& scratch);
/// A link holds a program at a cgroup, and gives it up.
Status tryCgroupLink(const ProbeScratch& scratch);

}  // namespace weft::kernel
