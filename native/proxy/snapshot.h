// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "proxy/events.h"

namespace weft::proxy {

/// Most connections and tunnels that one worker puts into a snapshot.
inline constexpr size_t kSnapshotEntriesMax = 10000;

/// What is known of one HBONE connection.
struct TunnelInfo {
  Direction direction = Direction::kOutbound;
  Endpoint peer;
  Endpoint local;  ///< Port 0 when it was never asked.
  std::string ownIdentity;
  std::string peerIdentity;
  size_t streams = 0;
  uint64_t startedMicros = 0;
  size_t unsentBytes = 0;
  bool up = false;
  bool retiring = false;
};

/// Collects what one worker has open, as an encoded weft.events.EngineSnapshot. Encodings of many
/// workers may be joined end to end. Bounded: further entries are only counted.
class Snapshot {
 public:
  explicit Snapshot(uint64_t nowMicros, size_t entriesMax = kSnapshotEntriesMax)
      : nowMicros_(nowMicros), entriesMax_(entriesMax) {}
  /// `opened` is false while the connection waits for its other side.
  void add(const std::string& podUid, const ConnectionInfo& info, bool opened);
  void add(const std::string& podUid, const TunnelInfo& info);
  /// The encoding. Leaves the collection empty.
  std::string take();

 private:
  bool hasRoom();

  uint64_t nowMicros_;
  size_t entriesMax_;
  size_t entries_ = 0;
  uint64_t omitted_ = 0;
  std::string bytes_;
};

/// The encoding behind it (native/proto/events.proto).
void encodeTunnel(const std::string& podUid, const TunnelInfo& info, uint64_t nowMicros,
                  std::string& snapshot);

}  // namespace weft::proxy
