// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "http/h2.h"

namespace weft::proxy {

/// The ports of the mesh, as in Istio's ambient mode.
inline constexpr uint16_t kOutboundPort = 15001;
inline constexpr uint16_t kPlaintextPort = 15006;
inline constexpr uint16_t kHbonePort = 15008;

/// How one engine behaves. Fixed from its start on.
struct Settings {
  size_t workers = 1;
  uint32_t mark = 0x539;  ///< Of every socket the proxy opens in a pod: capture leaves it alone.
  /// For sockets towards applications. BBR paces with timers even on loopback, which costs a
  /// quarter of the throughput there.
  std::string appCongestion = "cubic";
  uint64_t connectTimeoutMs = 10000;
  uint64_t handshakeTimeoutMs = 10000;  ///< TLS; a peer that then says nothing is idle.
  uint64_t identityTimeoutMs = 5000;    ///< How long a captured connection waits for a certificate.
  uint64_t tunnelIdleMs = 300000;
  http::H2Limits h2;
};

// Bounds of what one worker or pod holds.
inline constexpr size_t kReadBytesMax = 16 << 10;       ///< One read from an application.
inline constexpr size_t kStreamBudgetBytes = 64 << 10;  ///< Read from one application in a turn.
inline constexpr size_t kTunnelReadBytes = 256 << 10;   ///< One read from a tunnel.
inline constexpr size_t kTunnelReadsPerTurn = 4;
inline constexpr size_t kTunnelUnsentHigh = 256 << 10;  ///< Streams stop reading at this.
/// Past this the peer does not read, and the tunnel ends. Above what honest streams can have
/// queued: one payload of each, and kTunnelUnsentHigh.
inline constexpr size_t kTunnelUnsentMax = 4 << 20;
inline constexpr size_t kTunnelFlushBytes = 64 << 10;   ///< Sent in mid-turn beyond this.
inline constexpr size_t kTunnelsPerPeerMax = 64;        ///< In one pool, to one peer.
inline constexpr size_t kStreamsPerTunnelMax = 100;     ///< What we open; the peer may allow less.
inline constexpr size_t kConnectionsPerPodMax = 20000;  ///< In one worker.
inline constexpr size_t kHeldConnectionsMax = 1024;     ///< Waiting for an identity, in one pod.
inline constexpr size_t kPassthroughBufferBytes = 64 << 10;  ///< Each direction.
inline constexpr size_t kAcceptsPerTurn = 16;                ///< From one listener.
inline constexpr size_t kLingerBytesMax = 64 << 10;          ///< Discarded behind a fatal alert.
inline constexpr uint64_t kLingerMs = 1000;
inline constexpr int kCloseTriesMax = 30;  ///< Each kLingerMs, for a peer to take our last frames.
inline constexpr size_t kGatherPieces = 64;  ///< In one sendmsg to an application.
inline constexpr size_t kEventQueueBytesMax = 4 << 20;

}  // namespace weft::proxy
