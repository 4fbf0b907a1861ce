// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/status.h"
#include "io/direct_path.h"

namespace weft::io {

/// Where a captured connection was going.
struct Origin {
  Endpoint destination;
  /// The endpoint of the service at `destination` that whoever captured it has picked; port 0: it
  /// has not.
  Endpoint picked{};

  bool operator==(const Origin&) const = default;
};

/// How one pod is captured: each way of capture has its own. Called by all workers, so it is thread
/// safe.
class Capture {
 public:
  virtual ~Capture() = default;
  /// `listener` listens at `port` of the pod: what is captured for it may come from now on.
  virtual Status serve(int listener, uint16_t port) = 0;
  /// Where a connection of the application was going, which was accepted as `fd` from `peer`. Asked
  /// once. Nothing makes the caller refuse the connection: it never guesses.
  virtual std::optional<Origin> outboundDst(int fd, const Endpoint& peer) = 0;
  /// The same for plaintext that came to the pod.
  virtual std::optional<Endpoint> inboundDst(int fd) = 0;
  /// SO_MARK for sockets that connect to the application under a client's address, so that answers
  /// find back; 0 for the one that all sockets towards applications have.
  virtual uint32_t returnMark() const = 0;
};

/// What capture in the kernel says of itself.
struct CaptureStats {
  size_t pods = 0;                           ///< Those that are captured there.
  std::map<std::string, uint64_t> counters;  ///< How often programs ended in which way.
  uint64_t directSlots = 0;                  ///< That pods have taken for direct connections.
  /// Gates that keep the sockmap tier from a pod which asked for it.
  std::vector<std::string> sockmapRefused;
};

/// All ways of capture that this node may be set up for.
class Captures {
 public:
  virtual ~Captures() = default;
  /// How the pod with this network namespace is captured now. Not on a JavaScript thread.
  virtual std::shared_ptr<Capture> of(int netns) = 0;
  /// What programs in the kernel did; nothing where there are none.
  virtual CaptureStats stats() { return {}; }
  /// Says that this process lives and carries connections: to be called every second by any of the
  /// threads that do. Where that stops, what is captured is refused by itself after some seconds.
  virtual void beat() {}
  /// Direct connections, each time by an owner of its own; null where there are none, for now.
  virtual std::unique_ptr<DirectPath> directPath() { return nullptr; }
};

/// Capture by netfilter REDIRECT, of every pod.
class NetfilterCaptures final : public Captures {
 public:
  std::shared_ptr<Capture> of(int netns) override;
};

}  // namespace weft::io
