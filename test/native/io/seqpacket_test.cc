// SPDX-License-Identifier: Apache-2.0
#include "io/seqpacket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

using namespace weft::io;
using weft::Code;
using weft::UniqueFd;

namespace {

/// A folder of its own, which goes with all in it.
struct Folder {
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weft-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return path + "/" + name; }
  std::string path;
};

struct Pair {
  Pair() {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    one.reset(fds[0]);
    two.reset(fds[1]);
  }
  UniqueFd one, two;
};

std::vector<uint8_t> bytes(std::string_view text) {
  return {text.begin(), text.end()};
}

ino_t inodeOf(int fd) {
  struct stat at {};
  REQUIRE(::fstat(fd, &at) == 0);
  return at.st_ino;
}

size_t openDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

bool sendFds(int fd, size_t count) {
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16)] = {};
  char one = 'x';
  iovec piece{&one, 1};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int) * count);
  for (size_t i = 0; i < count; i++) {
    const int raw = null.get();
    std::memcpy(CMSG_DATA(c) + i * sizeof(int), &raw, sizeof raw);
  }
  return ::sendmsg(fd, &message, MSG_NOSIGNAL) == 1;
}

}  // namespace

TEST_CASE("packets keep their bounds, and a descriptor travels with its own") {
  Pair pair;
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK(sendPacket(pair.one.get(), bytes("first"), -1).ok());
  CHECK(sendPacket(pair.one.get(), bytes("second"), null.get()).ok());
  Packet packet;
  CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kPacket);
  CHECK(packet.bytes == bytes("first"));
  CHECK(packet.fds.empty());
  CHECK_FALSE(packet.truncated);
  CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kPacket);
  CHECK(packet.bytes == bytes("second"));
  REQUIRE(packet.fds.size() == 1);
  CHECK(inodeOf(packet.fds[0].get()) == inodeOf(null.get()));
  CHECK(packet.fds[0].get() != null.get());
  CHECK((::fcntl(packet.fds[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kLater);
  CHECK(packet.fds.empty());
}

TEST_CASE("a packet may be as long as the limit, and is cut and marked beyond it") {
  Pair pair;
  Packet packet;
  CHECK(sendPacket(pair.one.get(), std::vector<uint8_t>(kPacketBytesMax, 7), -1).ok());
  CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kPacket);
  CHECK(packet.bytes.size() == kPacketBytesMax);
  CHECK_FALSE(packet.truncated);
  CHECK(sendPacket(pair.one.get(), std::vector<uint8_t>(kPacketBytesMax + 1, 7), -1).ok());
  CHECK(sendPacket(pair.one.get(), bytes("next"), -1).ok());
  CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kPacket);
  CHECK(packet.bytes.size() == kPacketBytesMax);
  CHECK(packet.truncated);
  CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kPacket);
  CHECK(packet.bytes == bytes("next"));
}

TEST_CASE("descriptors over the limit are cut off and none stays open") {
  Pair pair;
  const size_t before = openDescriptors();
  {
    Packet packet;
    REQUIRE(sendFds(pair.one.get(), kPacketFdsMax));
    CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kPacket);
    CHECK(packet.fds.size() == kPacketFdsMax);
    CHECK_FALSE(packet.truncated);
    REQUIRE(sendFds(pair.one.get(), kPacketFdsMax + 1));
    CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kPacket);
    CHECK(packet.fds.size() <= kPacketFdsMax);
    CHECK(packet.truncated);
  }
  CHECK(openDescriptors() == before);
}

TEST_CASE("the end of a connection is told, after what came before it") {
  Pair pair;
  CHECK(sendPacket(pair.one.get(), bytes("last"), -1).ok());
  pair.one.reset();
  Packet packet;
  CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kPacket);
  CHECK(receivePacket(pair.two.get(), packet) == ReceiveOutcome::kClosed);
  CHECK(sendPacket(pair.two.get(), bytes("x"), -1).code() == Code::kUnavailable);
}

TEST_CASE("a peer that does not read makes sending fail instead of waiting") {
  Pair pair;
  const std::vector<uint8_t> some(kPacketBytesMax);
  size_t sent = 0;
  while (sent < 100000 && sendPacket(pair.one.get(), some, -1).ok()) {
    sent++;
  }
  CHECK(sent < 100000);
  CHECK(sendPacket(pair.one.get(), some, -1).code() == Code::kUnavailable);
}

TEST_CASE("a listener's file is for its owner alone, whatever the umask") {
  const Folder folder;
  const mode_t before = ::umask(0);
  const auto listener = listenSeqpacket(folder / "s");
  ::umask(before);
  REQUIRE(listener.ok());
  struct stat at {};
  REQUIRE(::stat((folder / "s").c_str(), &at) == 0);
  CHECK(S_ISSOCK(at.st_mode));
  CHECK((at.st_mode & 07777) == 0600);
}

TEST_CASE("a client connects, and each end knows who the other is") {
  const Folder folder;
  const auto listener = listenSeqpacket(folder / "s");
  REQUIRE(listener.ok());
  CHECK(acceptSeqpacket(listener.value().get()) == -EAGAIN);
  const auto client = connectSeqpacket(folder / "s");
  REQUIRE(client.ok());
  const UniqueFd server(acceptSeqpacket(listener.value().get()));
  REQUIRE(server);
  for (const int fd : {client.value().get(), server.get()}) {
    const auto peer = peerCredentials(fd);
    REQUIRE(peer.ok());
    CHECK(peer.value().pid == ::getpid());
    CHECK(peer.value().uid == ::geteuid());
  }
  CHECK(sendPacket(client.value().get(), bytes("hello"), -1).ok());
  Packet packet;
  CHECK(receivePacket(server.get(), packet) == ReceiveOutcome::kPacket);
  CHECK(packet.bytes == bytes("hello"));
}

TEST_CASE("a socket file that nobody serves is replaced") {
  const Folder folder;
  { REQUIRE(listenSeqpacket(folder / "s").ok()); }
  CHECK(connectSeqpacket(folder / "s").status().code() == Code::kUnavailable);
  const auto again = listenSeqpacket(folder / "s");
  REQUIRE(again.ok());
  CHECK(connectSeqpacket(folder / "s").ok());
}

TEST_CASE("a socket that somebody serves stays his, idle or busy") {
  const Folder folder;
  const auto first = listenSeqpacket(folder / "s");
  REQUIRE(first.ok());
  CHECK(listenSeqpacket(folder / "s").status().code() == Code::kUnavailable);
  std::vector<UniqueFd> queue;
  while (queue.size() < 1000) {
    auto client = connectSeqpacket(folder / "s");
    if (!client.ok()) {
      break;
    }
    queue.push_back(std::move(client).value());
  }
  REQUIRE(queue.size() < 1000);  // the queue of connections is full
  CHECK(listenSeqpacket(folder / "s").status().code() == Code::kUnavailable);
  CHECK(acceptSeqpacket(first.value().get()) >= 0);
  CHECK(connectSeqpacket(folder / "s").ok());
}

TEST_CASE("a socket of another kind is in use, too") {
  const Folder folder;
  const UniqueFd stream(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (folder / "s").c_str(), sizeof address.sun_path - 1);
  REQUIRE(::bind(stream.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(stream.get(), 1) == 0);
  CHECK(listenSeqpacket(folder / "s").status().code() == Code::kUnavailable);
}

TEST_CASE("what is no socket is never removed") {
  const Folder folder;
  const UniqueFd file(::open((folder / "s").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  REQUIRE(file);
  CHECK(listenSeqpacket(folder / "s").status().code() == Code::kInvalid);
  CHECK(std::filesystem::is_regular_file(folder / "s"));
  std::filesystem::create_symlink(folder / "s", folder / "link");
  CHECK(listenSeqpacket(folder / "link").status().code() == Code::kInvalid);
  CHECK(std::filesystem::is_symlink(folder / "link"));
}

TEST_CASE("a path that does not fit is refused, not cut") {
  const Folder folder;
  const std::string fits = folder / "" + std::string(107 - folder.path.size() - 1, 'x');
  REQUIRE(fits.size() == 107);
  CHECK(listenSeqpacket(fits).ok());
  CHECK(listenSeqpacket(fits + "y").status().code() == Code::kInvalid);
  CHECK(connectSeqpacket(fits + "y").status().code() == Code::kInvalid);
  CHECK(listenSeqpacket("").status().code() == Code::kInvalid);
  CHECK_FALSE(listenSeqpacket(folder / "none/s").ok());
}
