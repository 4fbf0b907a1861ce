// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/ip.h"
#include "proxy/tables.h"

namespace weft::proxy {

// The numbers of these are those of native/proto/events.proto.
enum class EventKind : int32_t { kOpened = 0, kClosed = 1, kRefused = 2 };
enum class Direction : int32_t { kOutbound = 0, kInbound = 1 };
enum class Reason : int32_t {
  kNone = 0,
  kDenied = 1,
  kTls = 2,
  kH2 = 3,
  kIdentity = 4,
  kConnect = 5,
  kNoRoute = 6,
  kReset = 7,
  kLimit = 8,
  kDrained = 9,
  kBadRequest = 10,
};

/// The name of a reason in logs and metrics: Istio's response flag where it has one.
const char* flagOf(Reason reason);

/// Why a connection ended, for the log. The default is a clean end.
struct Outcome {
  Reason reason = Reason::kNone;
  std::string detail;
  std::string policy;
};

/// What is known of one application connection.
struct ConnectionInfo {
  Direction direction = Direction::kOutbound;
  Endpoint source;
  Endpoint destination;  ///< What the application asked for, or the application itself.
  Endpoint tunnel;       ///< The HBONE peer; port 0 in plaintext.
  std::string sourceIdentity;
  std::string destinationIdentity;
  std::shared_ptr<const Workload> sourceWorkload;
  std::shared_ptr<const Workload> destinationWorkload;
  std::string destinationService;
  bool direct = false;     ///< Between pods of this node, past the proxy.
  uint64_t bytesSent = 0;  ///< From the source to the destination.
  uint64_t bytesReceived = 0;
  uint64_t startedMicros = 0;
  uint32_t rttMicros = 0;  ///< Smoothed, when it ended; 0: not measured.
  uint32_t retransmits = 0;
};

/// The way of events out of the engine: workers append encoded batches, one reader takes all.
/// Bounded: what does not fit is dropped and counted, and a worker never waits for the reader.
class EventQueue {
 public:
  /// `notify` is called, on a worker's thread, when the queue stops being empty. At most `bytesMax`
  /// wait.
  EventQueue(std::function<void()> notify, size_t bytesMax)
      : notify_(std::move(notify)), bytesMax_(bytesMax) {}
  /// Appends a batch of `events` events. Any thread. False when it was dropped.
  bool append(const std::string& batch, size_t events);
  /// Takes everything as one encoded weft.events.EventBatch (concatenation merges protobuf
  /// messages).
  std::string take();

 private:
  std::function<void()> notify_;
  const size_t bytesMax_;
  std::mutex mutex_;
  std::string bytes_;     // guarded by mutex_
  uint64_t dropped_ = 0;  // events; guarded by mutex_
};

/// The encoding of one event (native/proto/events.proto).
void encodeConnectionEvent(EventKind kind, const std::string& podUid, const ConnectionInfo& info,
                           const Outcome& outcome, uint64_t nowMicros, std::string& batch);
void encodeDropped(uint64_t dropped, std::string& batch);

}  // namespace weft::proxy
