// SPDX-License-Identifier: Apache-2.0
// What applications rely on, tried on sockets of the sockmap tier. Each says what is wrong, or
// nothing.
#pragma once

#include <string>

namespace weft::kernel {

class SockmapRig;

/// The programs can read how far the other end is.
std::string tryKernelMemory(SockmapRig& rig);
/// Data goes past TCP, both ways, and arrives.
std::string tryRedirect(SockmapRig& rig);
/// FIONREAD tells how much there is to read, when it came by TCP.
std::string tryFionreadPassed(SockmapRig& rig);
/// And when it came past TCP.
std::string tryFionreadRedirected(SockmapRig& rig);
/// What waits for a reader counts as its memory, and a reader that does not read stops the sender.
std::string tryReceiveCharge(SockmapRig& rig);
/// A recv() that may wait does so.
std::string tryBlockingRecv(SockmapRig& rig);
/// splice() takes what came past TCP.
std::string trySplice(SockmapRig& rig);
/// Nothing overtakes what was sent by TCP before: whose last ACK of the handshake was late, which
/// was lost and sent again, which nobody read yet.
std::string tryOrder(SockmapRig& rig);

}  // namespace weft::kernel
