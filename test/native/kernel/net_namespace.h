// SPDX-License-Identifier: Apache-2.0
// Network namespaces of a test's own, and connections in them. Needs root; every function aborts
// with the reason when the kernel refuses, since nothing can be tested then.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ip.h"
#include "base/unique_fd.h"

namespace weft::test {

/// A network namespace with its loopback up, as long as a descriptor or a socket is in it.
struct NetNamespace {
  UniqueFd fd;
  uint64_t cookie = 0;  ///< What the kernel's programs know it by.
};

NetNamespace makeNetNamespace();

/// Lays a cable between two namespaces. Each end gets its addresses, IPv4 with 24 and IPv6 with 64
/// bits of prefix, and is up.
void joinByCable(const NetNamespace& a, std::span<const Ip> addressesOfA, const NetNamespace& b,
                 std::span<const Ip> addressesOfB);

/// How an application says where it wants to go.
enum class Spelling {
  kIpv4,
  kIpv6,
  kMapped,  ///< An IPv4 address from a socket of IPv6.
};
/// The family of a socket that does so.
int familyOf(Spelling spelling);

/// What came of connect().
struct Attempt {
  UniqueFd socket;
  int error = 0;  ///< Why it is not connected.
};

/// Connects from a namespace, within 10 s.
Attempt connectFrom(const NetNamespace& from, Spelling spelling, const Endpoint& to);
/// Sends `text` to `to` by UDP, from a socket that is not connected.
UniqueFd askFrom(const NetNamespace& from, Spelling spelling, const Endpoint& to, const char* text);
/// Connects a socket of UDP: 0, or why it is not.
int connectAgain(const UniqueFd& socket, Spelling spelling, const Endpoint& to);
/// A socket of both families that receives what comes to `port` by UDP.
UniqueFd receiveAt(const NetNamespace& in, uint16_t port);

/// What was accepted, and from whom.
struct Accepted {
  UniqueFd socket;
  Endpoint peer;
};
/// The next connection, within 10 s.
Accepted acceptFrom(const UniqueFd& listener);
/// Whether a connection waits there now.
bool hasConnection(const UniqueFd& listener);
/// Waits up to 10 s until something can be read, or an error be had.
void waitReadable(const UniqueFd& socket);

/// What getpeername() and getsockname() say.
Endpoint peerOf(const UniqueFd& socket);
Endpoint nameOf(const UniqueFd& socket);
/// The error that the socket ended with; 0 while it is well, or after an end in order.
int errorOf(const UniqueFd& socket);

}  // namespace weft::test
