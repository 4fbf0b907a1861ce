// SPDX-License-Identifier: Apache-2.0
#include "kernel/probe_hooks.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "io/netns.h"
#include "io/sys.h"
#include "kernel/probe_objects.h"
#include "kernel/tried_program.h"

namespace weft::kernel {
namespace {

constexpr uint16_t kPort = 80;

Status unlike(const std::string& what) {
  return {Code::kInternal, "the program runs, and " + what};
}

Endpoint nowhereAt(bool isV4) {
  return {nowhere(isV4), kPort};
}

/// "try_connect4" of "try_connect".
std::string inFamily(const char* name, bool isV4) {
  return std::string(name) + (isV4 ? "4" : "6");
}

/// A program that is attached to the scratch cgroup, as long as the result lives.
Result<TriedProgram> attached(const ProbeScratch& scratch, const BpfObject& object,
                              const std::string& name, const Endpoint& plan) {
  if (!scratch.netnsStatus.ok() || !scratch.cgroupStatus.ok()) {
    return scratch.netnsStatus.ok() ? scratch.cgroupStatus : scratch.netnsStatus;
  }
  Result<TriedProgram> program = TriedProgram::load(object, name.c_str(), plan);
  if (program.ok()) {
    if (Status status = program.value().attachToCgroup(scratch.cgroup.get()); !status.ok()) {
      return status;
    }
  }
  return program;
}

using AskName = int (*)(int, sockaddr*, socklen_t*);

/// What a socket says of one of its ends.
std::optional<Endpoint> nameOf(const UniqueFd& fd, AskName ask) {
  sockaddr_storage raw{};
  socklen_t size = sizeof raw;
  return ask(fd.get(), reinterpret_cast<sockaddr*>(&raw), &size) == 0 ? Endpoint::fromSockaddr(raw)
                                                                      : std::nullopt;
}

Status tryName(const ProbeScratch& scratch, bool isV4, const char* program, AskName ask) {
  Result<BoundSocket> listener = bindAt(loopback(isV4), SOCK_STREAM);
  if (!listener.ok()) {
    return listener.status();
  }
  const Connected client = connectTo(listener.value().local);
  if (client.error != 0) {
    return Status::fromErrno("connect", client.error);
  }
  const Result<TriedProgram> tried =
      attached(scratch, probe_objects::names(), inFamily(program, isV4), nowhereAt(isV4));
  if (!tried.ok()) {
    return tried.status();
  }
  return nameOf(client.fd, ask) == nowhereAt(isV4) ? Status{} : unlike("the name is unchanged");
}

Status sendTo(const UniqueFd& fd, const Endpoint& to) {
  const FamilyAddress address(to);
  return ::sendto(fd.get(), "x", 1, 0, address.get(), address.size()) == 1
             ? Status{}
             : Status::fromErrno("sendto", errno);
}

/// Whom the next datagram came from.
std::optional<Endpoint> senderTo(const UniqueFd& fd) {
  sockaddr_storage raw{};
  socklen_t size = sizeof raw;
  char byte = 0;
  if (!isReadable(fd.get()) ||
      ::recvfrom(fd.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&raw), &size) != 1) {
    return std::nullopt;
  }
  return Endpoint::fromSockaddr(raw);
}

/// A port of the loopback where nobody listens.
Result<Endpoint> closedPort() {
  const Result<BoundSocket> once = bindAt(loopback(true), SOCK_STREAM);
  return once.ok() ? Result<Endpoint>(once.value().local) : once.status();
}

/// What a program saw of one connection to nobody, and its own port.
struct SeenConnect {
  weft_probe_seen seen;
  Connected client;
};

Result<SeenConnect> connectPast(const ProbeScratch& scratch, const BpfObject& object,
                                const char* name) {
  const Result<Endpoint> closed = closedPort();
  if (!closed.ok()) {
    return closed.status();
  }
  const Result<TriedProgram> program = attached(scratch, object, name, closed.value());
  if (!program.ok()) {
    return program.status();
  }
  Connected client = connectTo(closed.value());
  return SeenConnect{program.value().seen(), std::move(client)};
}

struct FreeRing {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

int noteNumber(void* out, void* data, size_t size) {
  if (size == sizeof(uint64_t)) {
    std::memcpy(out, data, size);
  }
  return 0;
}

}  // namespace

Status tryConnect(const ProbeScratch& scratch, bool isV4) {
  const Result<BoundSocket> listener = bindAt(loopback(isV4), SOCK_STREAM);
  if (!listener.ok()) {
    return listener.status();
  }
  const Result<TriedProgram> program = attached(
      scratch, probe_objects::connect(), inFamily("try_connect", isV4), listener.value().local);
  if (!program.ok()) {
    return program.status();
  }
  const Connected client = connectTo(nowhereAt(isV4));
  return client.error == 0 ? Status{} : unlike(std::string("connect: ") + strerror(client.error));
}

Status tryPeerName(const ProbeScratch& scratch, bool isV4) {
  return tryName(scratch, isV4, "try_getpeername", ::getpeername);
}

Status tryOwnName(const ProbeScratch& scratch, bool isV4) {
  return tryName(scratch, isV4, "try_getsockname", ::getsockname);
}

Status trySend(const ProbeScratch& scratch, bool isV4) {
  const Result<BoundSocket> receiver = bindAt(loopback(isV4), SOCK_DGRAM);
  const Result<BoundSocket> sender = bindAt(loopback(isV4), SOCK_DGRAM);
  if (!receiver.ok() || !sender.ok()) {
    return receiver.ok() ? sender.status() : receiver.status();
  }
  const Result<TriedProgram> program = attached(
      scratch, probe_objects::datagrams(), inFamily("try_sendmsg", isV4), receiver.value().local);
  if (!program.ok()) {
    return program.status();
  }
  if (Status status = sendTo(sender.value().fd, nowhereAt(isV4)); !status.ok()) {
    return status;
  }
  return senderTo(receiver.value().fd).has_value() ? Status{} : unlike("nothing arrives");
}

Status tryReceive(const ProbeScratch& scratch, bool isV4) {
  const Result<BoundSocket> receiver = bindAt(loopback(isV4), SOCK_DGRAM);
  const Result<BoundSocket> sender = bindAt(loopback(isV4), SOCK_DGRAM);
  if (!receiver.ok() || !sender.ok()) {
    return receiver.ok() ? sender.status() : receiver.status();
  }
  const Result<TriedProgram> program =
      attached(scratch, probe_objects::datagrams(), inFamily("try_recvmsg", isV4), nowhereAt(isV4));
  if (!program.ok()) {
    return program.status();
  }
  if (Status status = sendTo(sender.value().fd, receiver.value().local); !status.ok()) {
    return status;
  }
  return senderTo(receiver.value().fd) == nowhereAt(isV4) ? Status{}
                                                          : unlike("the sender is unchanged");
}

Status trySockops(const ProbeScratch& scratch) {
  const Result<SeenConnect> tried = connectPast(scratch, probe_objects::sockops(), "try_sockops");
  if (!tried.ok()) {
    return tried.status();
  }
  const auto& [seen, client] = tried.value();
  if (seen.runs == 0) {
    return {Code::kInternal, "the program does not run before a connection's SYN"};
  }
  if (seen.is_early == 0) {
    return unlike("the SYN has left by then");
  }
  const auto local = io::localEndpoint(client.fd.get());
  return local.has_value() && local->port == seen.local_port ? Status{}
                                                             : unlike("it sees another port");
}

Status tryRelease(const ProbeScratch& scratch) {
  Result<BoundSocket> socket = bindAt(loopback(true), SOCK_STREAM);
  if (!socket.ok()) {
    return socket.status();
  }
  const Result<TriedProgram> program =
      attached(scratch, probe_objects::release(), "try_sock_release", nowhereAt(true));
  if (!program.ok()) {
    return program.status();
  }
  socket.value().fd = UniqueFd();
  return program.value().seen().runs == 1
             ? Status{}
             : Status{Code::kInternal, "the program does not run when a socket is closed"};
}

Status tryNetnsCookie(const ProbeScratch& scratch) {
  const Result<uint64_t> cookie = io::netnsCookie(-1);
  if (!cookie.ok()) {
    return cookie.status();
  }
  for (const char* name : {"try_cookie_connect", "try_cookie_sockops"}) {
    const Result<SeenConnect> tried = connectPast(scratch, probe_objects::netns_cookie(), name);
    if (!tried.ok()) {
      return tried.status();
    }
    if (tried.value().seen.netns != cookie.value()) {
      return unlike("it sees another network namespace");
    }
  }
  return {};
}

Status tryRetval(const ProbeScratch& scratch) {
  const Result<TriedProgram> program =
      attached(scratch, probe_objects::retval(), "try_retval", nowhereAt(true));
  if (!program.ok()) {
    return program.status();
  }
  // To an address that is reached by no route: what refuses it else says something else.
  const Connected client = connectTo(nowhereAt(true));
  return client.error == ECONNREFUSED ? Status{}
                                      : unlike(std::string("connect: ") + strerror(client.error));
}

Status tryRing(const ProbeScratch& scratch) {
  const Result<TriedProgram> program =
      attached(scratch, probe_objects::ringbuf(), "try_ringbuf", nowhereAt(true));
  if (!program.ok()) {
    return program.status();
  }
  uint64_t said = 0;
  const std::unique_ptr<ring_buffer, FreeRing> ring(
      ring_buffer__new(program.value().map("ring"), noteNumber, &said, nullptr));
  if (ring == nullptr) {
    return bpfError("read a ring buffer", errno);
  }
  static_cast<void>(connectTo(nowhereAt(true)));
  ring_buffer__consume(ring.get());
  return said == kPort ? Status{} : unlike("what it says does not arrive");
}

Status tryCgroupLink(const ProbeScratch& scratch) {
  const Result<TriedProgram> program =
      attached(scratch, probe_objects::link(), "try_link_cgroup", nowhereAt(true));
  if (!program.ok()) {
    return program.status();
  }
  const int error = bpf_link_update(program.value().link(), program.value().fd(), nullptr);
  return error == 0 ? Status{} : bpfError("replace the program of a link", error);
}

}  // namespace weft::kernel
