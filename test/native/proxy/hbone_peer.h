// SPDX-License-Identifier: Apache-2.0
// What an engine under test meets: a network namespace of its own, applications in it, and a peer
// that speaks HBONE over a plain blocking socket. Every wait has an end, so a test fails instead of
// hanging.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/ip.h"
#include "base/unique_fd.h"
#include "http/h2.h"
#include "io/netns.h"
#include "io/segments.h"
#include "tls/session.h"
#include "tls/test_ca.h"

namespace weft::test {

inline constexpr int kWaitSeconds = 10;

/// A network namespace with nothing but its loopback, up; it goes with its last descriptor.
class NetworkNamespace {
 public:
  /// Nothing without the right to make one.
  static std::optional<NetworkNamespace> make() {
    UniqueFd fd;
    std::thread([&] {
      if (::unshare(CLONE_NEWNET) != 0) {
        return;
      }
      fd.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      ifreq request{};
      request.ifr_name[0] = 'l';
      request.ifr_name[1] = 'o';
      request.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
      need(::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0);
    }).join();
    return fd ? std::optional(NetworkNamespace(std::move(fd))) : std::nullopt;
  }

  const UniqueFd& fd() const { return fd_; }

  /// 10.1.1.2, of its loopback too: an address that capture takes for one of elsewhere.
  static constexpr const char* kOutside = "10.1.1.2";
  void addOutside() const {
    std::thread([&] {
      need(::setns(fd_.get(), CLONE_NEWNET) == 0);
      const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      ifreq request{};
      std::strcpy(request.ifr_name, "lo:1");
      auto* address = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
      address->sin_family = AF_INET;
      need(::inet_pton(AF_INET, kOutside, &address->sin_addr) == 1 &&
           ::ioctl(control.get(), SIOCSIFADDR, &request) == 0);
    }).join();
  }

  /// Sockets made in it from now on hold not much more than that in each direction.
  void limitBuffers(size_t bytes) const {
    std::thread([&] {
      need(::setns(fd_.get(), CLONE_NEWNET) == 0);
      for (const char* which : {"rmem", "wmem"}) {
        std::ofstream(std::string("/proc/sys/net/ipv4/tcp_") + which)
            << "4096 " << bytes << " " << bytes;
      }
    }).join();
  }

  /// A blocking socket in it that gives up after kWaitSeconds.
  UniqueFd socket() const {
    auto made = io::socketIn(fd_.get(), AF_INET, SOCK_STREAM);
    need(made.ok());
    UniqueFd out = std::move(made).value();
    need(::fcntl(out.get(), F_SETFL, 0) == 0);
    const timeval limit{kWaitSeconds, 0};
    ::setsockopt(out.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(out.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return out;
  }

 private:
  explicit NetworkNamespace(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

inline sockaddr_in addressOf(const char* ip, uint16_t port) {
  const Ip parsed = *Ip::parse(ip);
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  std::copy(parsed.bytes.begin() + 12, parsed.bytes.end(),
            reinterpret_cast<uint8_t*>(&out.sin_addr));
  return out;
}

inline Bytes bytesOf(std::string_view text) {
  return Bytes(text.begin(), text.end());
}

/// One end of a TCP connection.
struct Line {
  UniqueFd fd;

  bool send(const Bytes& bytes) const {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t n = ::send(fd.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (n <= 0) {
        return false;
      }
      at += static_cast<size_t>(n);
    }
    return true;
  }
  /// Up to `n` bytes; fewer at the end of the stream or at an error, which is then in errno.
  Bytes read(size_t n) const {
    Bytes out(n);
    size_t at = 0;
    errno = 0;
    while (at < n) {
      const ssize_t got = ::recv(fd.get(), out.data() + at, n - at, 0);
      if (got <= 0) {
        break;
      }
      at += static_cast<size_t>(got);
    }
    out.resize(at);
    return out;
  }
  /// True when the next thing is a clean end.
  bool atEnd() const {
    uint8_t one = 0;
    return ::recv(fd.get(), &one, 1, 0) == 0;
  }
  /// The error that comes next instead of bytes; 0 when it is bytes or a clean end.
  int nextError() const {
    uint8_t one = 0;
    return ::recv(fd.get(), &one, 1, 0) < 0 ? errno : 0;
  }
  /// True when nothing at all came for so long.
  bool quietFor(int ms) const {
    pollfd one{fd.get(), POLLIN | POLLRDHUP, 0};
    return ::poll(&one, 1, ms) == 0;
  }
  /// Waits until the other end's kernel has all that was sent; false when it does not.
  bool delivered() const {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(kWaitSeconds);
    int left = 1;
    while (::ioctl(fd.get(), SIOCOUTQ, &left) == 0 && left > 0 &&
           std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
    return left == 0;
  }
  void end() const { ::shutdown(fd.get(), SHUT_WR); }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd.reset();
  }
};

inline Line dial(const NetworkNamespace& ns, const char* ip, uint16_t port) {
  Line line{ns.socket()};
  const sockaddr_in to = addressOf(ip, port);
  if (::connect(line.fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    line.fd.reset();
  }
  const int now = 1;  // what is said leaves at once
  ::setsockopt(line.fd.get(), IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
  return line;
}

/// An application: a listener on a port of its own.
class App {
 public:
  explicit App(const NetworkNamespace& ns, const char* ip = "127.0.0.1", uint16_t port = 0)
      : listener_(ns.socket()) {
    sockaddr_in at = addressOf(ip, port);
    socklen_t length = sizeof at;
    auto* generic = reinterpret_cast<sockaddr*>(&at);
    need(::bind(listener_.get(), generic, length) == 0 && ::listen(listener_.get(), 64) == 0 &&
         ::getsockname(listener_.get(), generic, &length) == 0);
    port_ = ntohs(at.sin_port);
  }
  uint16_t port() const { return port_; }
  std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }
  /// The next connection; without a descriptor when none comes.
  Line accept() const {
    Line line{UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC))};
    const timeval limit{kWaitSeconds, 0};
    ::setsockopt(line.fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(line.fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return line;
  }
  void close() { listener_.reset(); }

 private:
  UniqueFd listener_;
  uint16_t port_ = 0;
};

/// The client of one HBONE connection.
class HbonePeer final : private tls::PlainSink, private http::H2Events, private http::ByteWriter {
 public:
  struct Stream {
    int status = 0;
    Bytes data;
    bool ended = false;
    std::optional<http::H2Error> reset;
    bool over() const { return ended || reset.has_value(); }
  };

  HbonePeer(const NetworkNamespace& ns, std::shared_ptr<const tls::Identity> own,
            const std::string& expected, const char* to = "127.0.0.1",
            const http::H2Limits& limits = {})
      : HbonePeer(dial(ns, to, 15008), std::move(own), expected, limits) {}
  /// Says its first words on a line that is there.
  HbonePeer(Line line, std::shared_ptr<const tls::Identity> own, const std::string& expected,
            const http::H2Limits& limits = {})
      : line_(std::move(line)),
        session_(tls::newClientSession(std::move(own), {tls::parseSpiffeId(expected).value()},
                                       context_)),
        h2_(http::newH2Client(http::H2Row::kNgHttp2, limits, {*this, *this, windows_})) {
    alive_ = static_cast<bool>(line_.fd) && session_->start(unixSeconds()).ok();
    flush();
  }

  /// False when the connection ended before it was ready for streams.
  bool ready() {
    return until([this] { return session_->handshakeDone(); });
  }
  http::StreamId open(const std::string& authority) {
    const auto id = h2_->request({authority, {}});
    need(id.ok());
    streams_[id.value()] = Stream();
    flush();
    return id.value();
  }
  /// Opens a stream and returns the answer's status, 0 when there is none.
  int ask(const std::string& authority, http::StreamId* id = nullptr) {
    if (!h2_->takesStreams()) {
      return 0;
    }
    const http::StreamId opened = open(authority);
    until([&] { return streams_[opened].status != 0 || streams_[opened].reset.has_value(); });
    if (id != nullptr) {
      *id = opened;
    }
    return streams_[opened].status;
  }
  Stream& operator[](http::StreamId id) { return streams_[id]; }

  /// Queues what the windows allow at once; sent by flush().
  size_t queue(http::StreamId id, std::span<const uint8_t> bytes) {
    const std::span<uint8_t> room = h2_->reserve(id, bytes.size());
    std::copy_n(bytes.begin(), room.size(), room.begin());
    if (!room.empty()) {
      h2_->commit(id, room.size());
    }
    return room.size();
  }
  bool send(http::StreamId id, std::span<const uint8_t> bytes) {
    while (!bytes.empty() && alive_ && !streams_[id].reset.has_value()) {
      const size_t n = queue(id, bytes);
      bytes = bytes.subspan(n);
      if (!flush() || (n == 0 && !receive())) {
        return false;
      }
    }
    return bytes.empty();
  }
  void queueEnd(http::StreamId id) { h2_->end(id); }
  /// Makes frames of what is queued; flush() sends them, with what comes until then.
  void frame() { h2_->produce(); }
  void end(http::StreamId id) {
    h2_->end(id);
    flush();
  }
  void reset(http::StreamId id, http::H2Error code) {
    h2_->reset(id, code);
    flush();
  }
  bool flush() {
    if (session_->handshakeDone()) {
      h2_->produce();
    }
    if (!session_->seal().ok()) {
      alive_ = false;
    }
    const std::span<const uint8_t> out = session_->outgoing();
    alive_ = alive_ && line_.send(Bytes(out.begin(), out.end()));
    session_->sent(out.size());
    return alive_;
  }
  /// Waits until something came that was not taken yet.
  bool hears() const {
    pollfd one{line_.fd.get(), POLLIN, 0};
    return ::poll(&one, 1, kWaitSeconds * 1000) == 1;
  }
  /// Waits until all that was flushed has arrived.
  bool delivered() const { return line_.delivered(); }
  /// Takes what comes until `done`. False when the connection ends, or nothing comes, before.
  bool until(const std::function<bool()>& done) {
    while (!done()) {
      if (!alive_ || !receive()) {
        return done();
      }
    }
    return true;
  }
  bool untilOver(http::StreamId id) {
    return until([&] { return streams_[id].over(); });
  }
  bool untilClosed() {
    until([] { return false; });
    return closed_;
  }
  bool goaway() const { return goaway_; }
  /// Segments with data that came from the proxy so far.
  uint32_t segments() const { return segmentsOf(line_.fd.get()).dataReceived; }
  const Status& failure() const { return failure_; }
  /// Leaves without a word.
  void vanish() {
    line_.reset();
    alive_ = false;
  }
  /// Says nothing in HTTP/2.
  void beMute() { mute_ = true; }
  /// The application behind this peer does not read: windows are not given back.
  void stopTaking() { takes_ = false; }
  /// It reads so many bytes after all, which may grant window.
  void take(http::StreamId id, size_t n) {
    h2_->consumed(id, n);
    flush();
  }

 private:
  bool receive() {
    Bytes cipher(64 << 10);
    Bytes scratch(cipher.size() + tls::kRecordBytesMax);
    const ssize_t n = ::recv(line_.fd.get(), cipher.data(), cipher.size(), 0);
    if (n <= 0) {
      closed_ = n == 0 || errno == ECONNRESET;
      return alive_ = false;
    }
    failure_ =
        session_->receive({cipher.data(), static_cast<size_t>(n)}, scratch, unixSeconds(), *this);
    if (!failure_.ok()) {
      closed_ = failure_.code() == Code::kClosed;
      flush();
      return alive_ = false;
    }
    return flush();
  }

  Status onHandshakeDone() override { return {}; }
  Status onPlain(std::span<uint8_t> plain) override {
    return h2_->receive(plain, monotonicMicros());
  }
  void onRequest(http::StreamId, std::string_view, const http::ConnectRequest&) override {}
  void onResponse(http::StreamId id, int status, const std::vector<http::Header>&) override {
    streams_[id].status = status;
  }
  void onData(http::StreamId id, std::span<uint8_t> data) override {
    streams_[id].data.insert(streams_[id].data.end(), data.begin(), data.end());
    if (takes_) {
      h2_->consumed(id, data.size());
    }
  }
  void onEnd(http::StreamId id) override { streams_[id].ended = true; }
  void onReset(http::StreamId id, http::H2Error code) override { streams_[id].reset = code; }
  void onSendable(http::StreamId) override {}
  void onGoaway(http::StreamId, http::H2Error) override { goaway_ = true; }
  std::span<uint8_t> reserve(size_t min) override {
    unsaid_.resize(mute_ ? min : 0);
    return mute_ ? std::span<uint8_t>(unsaid_) : session_->reserve(min);
  }
  void commit(size_t n) override {
    if (!mute_) {
      session_->commit(n);
    }
  }

  Line line_;
  http::UnboundedWindows windows_;
  tls::SessionContext context_;
  std::unique_ptr<tls::Session> session_;
  std::unique_ptr<http::H2> h2_;
  std::map<http::StreamId, Stream> streams_;
  Status failure_;
  bool alive_ = false;
  bool closed_ = false;
  bool goaway_ = false;
  bool takes_ = true;
  bool mute_ = false;
  Bytes unsaid_;
};

}  // namespace weft::test
