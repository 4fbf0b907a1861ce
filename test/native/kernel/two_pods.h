// SPDX-License-Identifier: Apache-2.0
// Two namespaces joined by a cable on a node of the test's own. Neither is a pod yet.
#pragma once

#include <array>

#include "io/sys.h"
#include "kernel/scratch_node.h"

namespace weft::test {

/// One of the two, with an address of each family.
struct ScratchPod {
  NetNamespace netns = makeNetNamespace();
  std::array<Ip, 2> addresses;

  /// The address of that spelling's family.
  const Ip& ip(Spelling spelling) const { return addresses[spelling == Spelling::kIpv6 ? 1 : 0]; }
  Endpoint at(Spelling spelling, uint16_t port) const { return {ip(spelling), port}; }
  /// A listener of both families at all addresses.
  UniqueFd listen(uint16_t port) const { return io::listenTcp(netns.fd.get(), port, {}).value(); }
};

/// All ways to spell an address.
inline constexpr std::array<Spelling, 3> kSpellings = {Spelling::kIpv4, Spelling::kIpv6,
                                                       Spelling::kMapped};

/// The node and both. Their addresses of IPv6 look like mapped ones to who does not look at all of
/// them.
struct TwoPods {
  ScratchNode node;
  ScratchPod a{makeNetNamespace(), {*Ip::parse("10.99.0.1"), *Ip::parse("fd99::ffff:a63:1")}};
  ScratchPod b{makeNetNamespace(), {*Ip::parse("10.99.0.2"), *Ip::parse("fd99::ffff:a63:2")}};

  TwoPods() { joinByCable(a.netns, a.addresses, b.netns, b.addresses); }

  /// As the agent captures a pod.
  Status enrol(const ScratchPod& pod, bool direct = false) {
    return node.agent().enrol(pod.netns.fd.get(), pod.netns.cookie, pod.addresses, direct);
  }
};

}  // namespace weft::test
