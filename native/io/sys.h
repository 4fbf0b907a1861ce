// SPDX-License-Identifier: Apache-2.0
// The only file, with netns, pod_socket and seqpacket, that makes socket calls: whatever stands
// above it can run over a stand-in.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/ip.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace weft::io {

/// How a TCP socket of ours is set up. Accepted sockets inherit it from their listener.
struct TcpOptions {
  uint32_t mark = 0;  ///< SO_MARK; 0 leaves it alone. Needs CAP_NET_ADMIN.
  std::string
      congestion;  ///< TCP_CONGESTION; empty, or unknown to the kernel: the system's default.
  bool keepalive = false;  ///< Probes an idle peer after 180 s.
  /// Milliseconds that sent bytes may stay unacknowledged; 0 leaves it to the kernel.
  uint32_t userTimeoutMs = 0;
  /// Bytes are soon answered by bytes, and a client speaks at once: acknowledgements wait for
  /// those, at most as long as the kernel lets them, and need no segments of their own.
  bool answersSoon = false;
};

/// Listens on `port` at every address of the namespace, IPv6 and IPv4; IPv4 alone where the kernel
/// has no IPv6. The port is nobody else's while the socket is open: binding it again fails,
/// whatever the options and the user.
Result<UniqueFd> listenTcp(int netns, uint16_t port, const TcpOptions& options);

/// Looks at a socket that another process handed over. kInvalid unless it is of this type, bound to
/// `local`, where the unspecified address is any, in the namespace `netns`, and listens when it is
/// SOCK_STREAM, whatever was said of it. For workers only.
Status checkInherited(int fd, int netns, int type, const Endpoint& local);

/// The next connection, or a descriptor below zero: -EAGAIN when there is none, else -errno.
int acceptTcp(int listener, Endpoint& peer);

/// Sets SO_MARK. Needs CAP_NET_ADMIN.
Status setMark(int fd, uint32_t mark);
/// Sets up a fresh TCP socket.
Status setUp(int fd, const TcpOptions& options);
/// The congestion control of a TCP socket; empty when the kernel does not say.
std::string congestionOf(int fd);

/// Starts a connect. When `source` is set the socket is bound to it with IP_TRANSPARENT, so that
/// the destination sees that address. The result may still be connecting: see connectResult().
Result<UniqueFd> connectTcp(int netns, const Endpoint& to, const std::optional<Ip>& source,
                            const TcpOptions& options);
/// The same with a socket that was set up before, of the family of `to`.
Result<UniqueFd> connectTcp(UniqueFd fd, const Endpoint& to, const std::optional<Ip>& source);
/// Once epoll said `events` of the socket: ok, or why the connect failed. Asks the kernel only
/// after an error.
Status connectResult(int fd, uint32_t events);
/// Why the connection broke.
Status socketError(int fd);

/// Where a redirected connection was going (SO_ORIGINAL_DST of netfilter). Nothing when the kernel
/// does not know: the caller refuses, it never guesses.
std::optional<Endpoint> netfilterOriginalDst(int fd);
std::optional<Endpoint> localEndpoint(int fd);

/// What the caller does when all of the bytes are sent.
enum class Next : uint8_t {
  kAny,
  kEnd,  ///< shutdownWrite() or close(), at once: FIN leaves with the last bytes, in one segment.
};

/// recv and send as the kernel gives them: bytes, 0 at end of stream, or -errno (-EAGAIN: later).
ssize_t receiveSome(int fd, std::span<uint8_t> into);
/// What receiveSome() of one byte would give; the byte stays there.
ssize_t peek(int fd);
ssize_t sendSome(int fd, std::span<const uint8_t> bytes, Next next = Next::kAny);
ssize_t sendPieces(int fd, std::span<const iovec> pieces, Next next = Next::kAny);

/// Sends FIN; the other direction stays open.
void shutdownWrite(int fd);
/// Makes the coming close() send RST instead of FIN, also the one of a process that is killed.
void resetOnClose(int fd);
/// Makes it send what is left to send, and FIN, as that of any socket.
void endOnClose(int fd);

}  // namespace weft::io
