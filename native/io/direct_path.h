// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/ip.h"
#include "base/status.h"

namespace weft::io {

/// A connection between two pods of this node that no proxy carries. Pods are told by the cookies
/// of their network namespaces.
struct DirectFlow {
  uint64_t source = 0;
  uint64_t destination = 0;
  Endpoint client;
  Endpoint server;
  uint64_t cookie = 0;  ///< Of the client's socket; 0 where it is not known.
  /// What the application asked for, such as the address of a service; port 0 where that is not
  /// known.
  Endpoint asked{};
};

/// Whether connections from `source` may go directly, to one port or, with port 0, to every port
/// that has no row of its own.
struct DirectVerdict {
  uint64_t source = 0;
  uint16_t port = 0;
  bool allowed = false;
  uint64_t expiresNs = 0;  ///< Monotonic. From then on the proxy is asked.
};

/// One of the places of a table to pick an endpoint from. All places are equally likely; of 2^32
/// chances at this one `keep` stay, and the others go to the place `other`.
struct ServicePick {
  Endpoint target;  ///< The endpoint's application.
  uint32_t keep = UINT32_MAX;
  uint32_t other = 0;

  bool operator==(const ServicePick&) const = default;
};

/// What the kernel picks from for one address and port of a service. Never empty.
using ServicePicks = std::vector<ServicePick>;
/// All of them.
using ServiceTables = std::map<Endpoint, ServicePicks>;

/// Most places of one table.
inline constexpr size_t kServicePicksMax = 4096;

/// What became of one.
struct DirectEvent {
  enum class Kind { kOpened, kClosed, kDenied };
  Kind kind = Kind::kOpened;
  DirectFlow flow;
  bool established = false;  ///< When closed: whether it ever was open.
  bool refused = false;      ///< When it was not: by the other side, and not given up by its own.
  uint64_t bytesSent = 0;    ///< By the client.
  uint64_t bytesReceived = 0;
  uint64_t durationNs = 0;
  uint32_t rttMicros = 0;
  uint32_t retransmits = 0;
};

/// The kernel's part of direct connections. One thread.
class DirectPath {
 public:
  virtual ~DirectPath() = default;
  /// Puts these verdicts in the place of all that there are for `destination`, at once: when it
  /// returns no program decides by the old ones.
  virtual Status publish(uint64_t destination, std::span<const DirectVerdict> verdicts) = 0;
  /// Leaves connections to `destination` to the proxy.
  virtual void withdraw(uint64_t destination) = 0;
  /// Picks from these tables from now on and from no others, each of which is replaced at once. One
  /// that finds no room is left to the proxy; the first error is returned.
  virtual Status publishServices(const ServiceTables& tables) = 0;
  /// Those of `source` that are open or about to be.
  virtual std::vector<DirectFlow> flowsOf(uint64_t source) const = 0;
  /// Whether the pod may have direct connections at all.
  virtual bool isOn(uint64_t pod) const = 0;
  /// Resets all of these, whose clients are in the network namespace `netns`. One that is over is
  /// no error; the last error is returned, after all were tried.
  virtual Status end(std::span<const DirectFlow> flows, int netns) = 0;
  /// Resets those that applications of the pod `destination`, whose network namespace is `netns`,
  /// have accepted, or are about to, and `isAllowed` says no to. A client may keep its own end, or
  /// the word of it, from us.
  virtual Status endAccepted(uint64_t destination, int netns,
                             const std::function<bool(const DirectFlow&)>& isAllowed) = 0;
  /// Polls readable when take() has something.
  virtual int eventsFd() const = 0;
  /// Calls `each` for all events that wait.
  virtual void take(const std::function<void(const DirectEvent&)>& each) = 0;
};

}  // namespace weft::io
