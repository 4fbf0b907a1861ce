// SPDX-License-Identifier: Apache-2.0
// An HTTP/2 server without TLS on 127.0.0.1, for conformance tools: answers every request with 200
// and a short body. Argument: the row. Prints its port; ends when its standard input does.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "base/buffer.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/unique_fd.h"
#include "http/h2.h"

namespace {

using namespace weft;

constexpr size_t kConnectionsMax = 64;
constexpr std::string_view kBody = "what the conformance tool asked for, and then some";

class Connection final : private http::H2Events, private http::ByteWriter {
 public:
  Connection(int fd, http::H2Row row)
      : fd_(fd), h2_(http::newH2Server(row, {}, {*this, *this, windows_})) {}

  int fd() const { return fd_.get(); }
  /// False when the connection is over.
  bool flush() {
    h2_->produce();
    const std::span<uint8_t> bytes = out_.bytes();
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    out_.consume(static_cast<size_t>(std::max<ssize_t>(n, 0)));
    return n >= 0;
  }
  bool receive() {
    std::array<uint8_t, 65536> bytes;
    const ssize_t n = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    if (n <= 0) {
      return false;
    }
    const Status status = h2_->receive({bytes.data(), static_cast<size_t>(n)}, monotonicMicros());
    return flush() && status.ok();
  }
  void linger() { ::shutdown(fd_.get(), SHUT_WR); }

 private:
  void onRequest(http::StreamId id, std::string_view, const http::ConnectRequest&) override {
    h2_->respond(id, 200, {}, false);
    onSendable(id);
  }
  void onResponse(http::StreamId, int, const std::vector<http::Header>&) override {}
  void onData(http::StreamId id, std::span<uint8_t> data) override {
    h2_->consumed(id, data.size());
  }
  void onEnd(http::StreamId) override {}
  void onReset(http::StreamId id, http::H2Error) override { sent_.erase(id); }
  void onSendable(http::StreamId id) override {
    size_t& sent = sent_[id];
    while (sent < kBody.size()) {
      const std::span<uint8_t> room = h2_->reserve(id, kBody.size() - sent);
      if (room.empty()) {
        return;
      }
      std::copy_n(kBody.data() + sent, room.size(), room.begin());
      h2_->commit(id, room.size());
      sent += room.size();
    }
    h2_->end(id);
    sent_.erase(id);
  }
  void onGoaway(http::StreamId, http::H2Error) override {}
  std::span<uint8_t> reserve(size_t min) override { return out_.room(min); }
  void commit(size_t n) override { out_.commit(n); }

  UniqueFd fd_;
  Buffer out_;
  std::map<http::StreamId, size_t> sent_;
  http::UnboundedWindows windows_;
  std::unique_ptr<http::H2> h2_;
};

int listenAnywhere() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  CHECK(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  CHECK(::listen(fd, 16) == 0);
  CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  const bool library = argc > 1 && std::strcmp(argv[1], "nghttp2") == 0;
  const http::H2Row row = library ? http::H2Row::kNgHttp2 : http::H2Row::kOwn;
  const UniqueFd listener(listenAnywhere());
  std::map<int, std::unique_ptr<Connection>> connections;
  while (true) {
    std::vector<pollfd> waiting = {{0, POLLIN, 0}, {listener.get(), POLLIN, 0}};
    for (const auto& [fd, connection] : connections) {
      waiting.push_back({fd, POLLIN, 0});
    }
    ::poll(waiting.data(), waiting.size(), -1);
    if (waiting[0].revents != 0) {
      return 0;
    }
    for (size_t i = 2; i < waiting.size(); i++) {
      const int fd = waiting[i].fd;
      if (waiting[i].revents != 0 && !connections[fd]->receive()) {
        // What was said must be read before a close with unread input destroys it.
        connections[fd]->linger();
        std::array<uint8_t, 65536> rest;
        while (::recv(fd, rest.data(), rest.size(), MSG_DONTWAIT) > 0) {
        }
        connections.erase(fd);
      }
    }
    if (waiting[1].revents != 0 && connections.size() < kConnectionsMax) {
      const int fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) {
        connections[fd] = std::make_unique<Connection>(fd, row);
        connections[fd]->flush();
      }
    }
  }
}
