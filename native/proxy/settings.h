// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "crypto/batch.h"
#include "http/h2.h"
#include "tls/session.h"
#include "tls/session_store.h"

namespace weft::proxy {

/// The ports of the mesh, as in Istio's ambient mode.
inline constexpr uint16_t kOutboundPort = 15001;
inline constexpr uint16_t kPlaintextPort = 15006;
inline constexpr uint16_t kHbonePort = 15008;

/// What one pod, one peer or the whole node may take, so that none of them starves the others. What
/// is over a limit is refused and counted; nobody else notices.
struct Limits {
  /// Of one pod, tunnels included, in all workers together. Workers that accept at the same instant
  /// may go over it by one each. Peers at one address may have half of it, rounded up, in streams
  /// and plaintext connections.
  size_t connectionsPerPod = 20000;
  /// Waiting for the pod's certificate, in one pod, direction and worker.
  size_t heldPerPod = 1024;
  /// Inbound connections of one pod whose TLS handshake is not finished, in one worker: what it can
  /// do grows with the workers. One that failed counts until its socket is closed, which is up to
  /// kLingerMs later.
  size_t handshakesPerPod = 2048;
  /// Those of one source address, in all workers together.
  size_t handshakesPerSource = 256;
  /// Inbound tunnels from one source address to one pod, in all workers together.
  size_t tunnelsPerSource = 512;
  /// Outbound tunnels of one pod to one peer, in one worker.
  size_t tunnelsPerPeer = 128;
  /// To so many of them one pod may spread when those that it has are congested.
  size_t busyTunnelsPerPeer = 4;
  /// Streams that we open in one tunnel. The peer may allow less.
  size_t streamsPerTunnel = 100;
  /// Receive windows that are promised to peers, and bytes that are buffered, in all workers
  /// together: of one pod, and of all pods. Peers at one address are promised half of a pod's.
  uint64_t bytesPerPod = 1ULL << 30;
  uint64_t bytesPerNode = 4ULL << 30;
  /// Of one plaintext connection, each direction.
  size_t passthroughBytes = 64 << 10;
  /// Encoded events that wait for their reader.
  size_t eventQueueBytes = 4 << 20;
  /// Leaf certificates that one worker remembers as verified; with 0 each chain is verified anew.
  size_t verifiedLeaves = 4096;
  /// TLS sessions that one pod keeps for resumption in one worker, in all and towards one peer;
  /// with 0 every tunnel begins with a full handshake, and peers get no tickets.
  size_t resumableSessions = 1024;
  size_t resumablePerPeer = tls::SessionStore::kSessionsPerKeyMax;
  /// Handshakes of one worker that may wait for their operations to be gathered; what comes on top
  /// of them computes by itself.
  size_t handshakeFibers = 1024;
};

/// What an engine says of connections: each event by itself, or totals and access log lines.
enum class Reports { kEach, kSummary };

/// Which connections have a line in the access log: all, those that failed, or none.
enum class LogLines { kAll, kFailed, kNone };

/// How one engine behaves. Fixed from its start on.
struct Settings {
  size_t workers = 1;
  uint32_t mark = 0x539;  ///< Of every socket the proxy opens in a pod: capture leaves it alone.
  /// For sockets towards applications. BBR paces with timers even on loopback, which costs a
  /// quarter of the throughput there.
  std::string appCongestion = "cubic";
  /// For tunnels. BBR's timers cost them a quarter of the CPU for each byte on a fast link; empty
  /// leaves the system's default, which may be better between distant nodes.
  std::string tunnelCongestion = "cubic";
  /// A worker that had something to do looks for more this long before it sleeps, unless somebody
  /// else wants its processor. Answers come sooner, and a processor is kept busy with waiting.
  uint64_t busyPollMicros = 0;
  uint64_t connectTimeoutMs = 10000;
  uint64_t handshakeTimeoutMs = 10000;  ///< TLS, and then again the peer's HTTP/2 SETTINGS.
  uint64_t identityTimeoutMs = 5000;    ///< How long a captured connection waits for a certificate.
  /// Unused tunnels close after this. With 0 one that falls idle takes no further stream.
  uint64_t tunnelIdleMs = 300000;
  /// Another process carries this node still: listeners that it hands over rest, and direct
  /// connections are its own, until Engine::takeOver().
  bool takesOver = false;
  /// Programs in the kernel may capture pods, and may have been told of direct connections before.
  bool kernelCapture = false;
  /// Pods of one node connect to each other without the proxy, where capture is in the kernel and
  /// policy can be decided there.
  bool directPath = false;
  bool registryOnly = false;  ///< Outbound connections to what is not in the mesh are refused.
  /// A connection of an application that is open both ways and moves no byte for so long is reset.
  /// 0: never.
  uint64_t streamIdleMs = 0;
  /// The same for one that is half closed. 0: never.
  uint64_t halfClosedIdleMs = 0;
  /// The same when both sides have ended and an application takes none of what is left for it.
  uint64_t finWaitMs = 60000;
  /// A stream whose peer has granted no window for so long, while bytes of the application wait for
  /// it, is reset. One that has nothing to send never is. 0: never.
  uint64_t stalledMs = 3600000;
  tls::SessionRow tlsRow = tls::SessionRow::kRecord;
  /// See crypto::chooseMode().
  std::optional<crypto::Mode> crypto;
  http::H2Row h2Row = http::H2Row::kOwn;
  http::H2Limits h2;
  Reports reports = Reports::kEach;
  std::string logName = "weft";  ///< The process's name in its access log.
  bool logOpened = false;        ///< A line for each connection that opens, too.
  LogLines logLines = LogLines::kAll;
  Limits limits;
};

inline constexpr uint64_t kBusyPollMicrosMax = 1000;

// Bounds of what one turn does and one tunnel holds.
inline constexpr size_t kReadBytesMax = 16 << 10;       ///< One read from an application.
inline constexpr size_t kStreamBudgetBytes = 64 << 10;  ///< Read from one application in a turn.
inline constexpr size_t kTunnelReadBytes = 256 << 10;   ///< One read from a tunnel.
/// The same before its handshake is done: a session that waits keeps what it has not used of it.
inline constexpr size_t kHandshakeReadBytes = 16 << 10;
inline constexpr size_t kTunnelReadsPerTurn = 4;
inline constexpr size_t kTunnelUnsentHigh = 256 << 10;  ///< Streams stop reading at this.
/// Past this the peer does not read, and the tunnel ends. Above what honest streams can have
/// queued: one payload of each, and kTunnelUnsentHigh.
inline constexpr size_t kTunnelUnsentMax = 4 << 20;
inline constexpr size_t kTunnelFlushBytes = 128 << 10;   ///< Sent in mid-turn beyond this.
inline constexpr size_t kPassthroughBytesMin = 4 << 10;  ///< When the pod's bytes are used up.
/// Of what an application said before its other side took it; kept to say it to another one.
inline constexpr size_t kRetryBytesMax = 16 << 10;
/// A peer answers a CONNECT within connectTimeoutMs, which is its own time for its application, and
/// this for the way.
inline constexpr uint64_t kAnswerSlackMs = 1000;
inline constexpr size_t kAcceptsPerTurn = 16;  ///< From one listener.
/// Of one pod, accepted by one worker and not yet taken up by another.
inline constexpr size_t kHandedOverMax = 256;
inline constexpr size_t kLingerBytesMax = 64 << 10;  ///< Discarded behind a fatal alert.
inline constexpr uint64_t kServerIdleMsMin = 10000;  ///< An unused inbound tunnel stays so long.
inline constexpr uint64_t kDrainGraceMs = 200;  ///< For requests that crossed our first GOAWAY.
inline constexpr uint64_t kLingerMs = 1000;
inline constexpr int kCloseTriesMax = 30;  ///< Each kLingerMs, for a peer to take our last frames.
inline constexpr size_t kGatherPieces = 64;  ///< In one sendmsg to an application.

}  // namespace weft::proxy
