// SPDX-License-Identifier: Apache-2.0
#include "kernel/probe_sockets.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>

#include "io/sys.h"
#include "kernel/probe_objects.h"
#include "kernel/sock_diag.h"
#include "kernel/tried_program.h"

namespace weft::kernel {
namespace {

constexpr Endpoint kNoPlan{};

/// A listener, and a connection to it that it has accepted or might.
struct OpenPair {
  BoundSocket listener;
  UniqueFd client;
};

Result<OpenPair> openPair() {
  Result<BoundSocket> listener = bindAt(loopback(true), SOCK_STREAM);
  if (!listener.ok()) {
    return listener.status();
  }
  Connected client = connectTo(listener.value().local);
  if (client.error != 0) {
    return Status::fromErrno("connect", client.error);
  }
  return OpenPair{std::move(listener).value(), std::move(client.fd)};
}

Result<TriedProgram> loadInNetns(const ProbeScratch& scratch, const BpfObject& object,
                                 const char* name, const Endpoint& plan = kNoPlan) {
  return scratch.netnsStatus.ok() ? TriedProgram::load(object, name, plan) : scratch.netnsStatus;
}

/// Puts a socket into a map of the program.
Status keepIn(const TriedProgram& program, const char* map, const BoundSocket& listener) {
  const uint32_t key = 0;
  const auto value = static_cast<uint64_t>(listener.fd.get());
  const int error = bpf_map_update_elem(program.map(map), &key, &value, BPF_ANY);
  return error == 0 ? Status{} : bpfError("put a listener into a map", errno);
}

/// What came of an iterator that was run.
Status shownSome(const TriedProgram& program, Status ran) {
  if (ran.ok() && program.seen().runs == 0) {
    return {Code::kInternal, "the program runs, and is shown no socket"};
  }
  return ran;
}

struct FreeTypes {
  void operator()(btf* types) const { btf__free(types); }
};

}  // namespace

Status tryNetnsLink(const ProbeScratch& scratch) {
  Result<TriedProgram> program = loadInNetns(scratch, probe_objects::link(), "try_link_netns");
  if (!program.ok()) {
    return program.status();
  }
  if (Status status = program.value().attachToNetns(scratch.netns.get()); !status.ok()) {
    return status;
  }
  const int error = bpf_link_update(program.value().link(), program.value().fd(), nullptr);
  return error == 0 ? Status{} : bpfError("replace the program of a link", error);
}

Status tryLookup(const ProbeScratch& scratch) {
  const Result<BoundSocket> listener = bindAt(loopback(true), SOCK_STREAM);
  if (!listener.ok()) {
    return listener.status();
  }
  // The port of a socket that is gone: nobody listens there.
  const Result<BoundSocket> once = bindAt(loopback(true), SOCK_STREAM);
  if (!once.ok()) {
    return once.status();
  }
  const Endpoint asked = once.value().local;
  ::shutdown(once.value().fd.get(), SHUT_RDWR);
  Result<TriedProgram> program =
      loadInNetns(scratch, probe_objects::sk_lookup(), "try_sk_lookup", asked);
  if (!program.ok()) {
    return program.status();
  }
  if (Status status = keepIn(program.value(), "listeners", listener.value()); !status.ok()) {
    return status;
  }
  if (Status status = program.value().attachToNetns(scratch.netns.get()); !status.ok()) {
    return status;
  }
  const Connected client = connectTo(asked);
  return client.error == 0 && isReadable(listener.value().fd.get())
             ? Status{}
             : Status{Code::kInternal, "the program runs, and the listener gets nothing"};
}

Status tryMessages(const ProbeScratch& scratch) {
  const Result<TriedProgram> program = loadInNetns(scratch, probe_objects::sk_msg(), "try_sk_msg");
  if (!program.ok()) {
    return program.status();
  }
  const int error =
      bpf_prog_attach(program.value().fd(), program.value().map("sockets"), BPF_SK_MSG_VERDICT, 0);
  return error == 0 ? Status{} : bpfError("attach try_sk_msg", error);
}

Status tryIterator(const ProbeScratch& scratch) {
  Result<TriedProgram> program = loadInNetns(scratch, probe_objects::iter_tcp(), "try_iter_tcp");
  if (!program.ok()) {
    return program.status();
  }
  const Result<OpenPair> pair = openPair();
  if (!pair.ok()) {
    return pair.status();
  }
  return shownSome(program.value(), program.value().iterate());
}

Status tryMapIterator(const ProbeScratch& scratch) {
  Result<TriedProgram> program =
      loadInNetns(scratch, probe_objects::iter_sockmap(), "try_iter_sockmap");
  if (!program.ok()) {
    return program.status();
  }
  const Result<BoundSocket> listener = bindAt(loopback(true), SOCK_STREAM);
  if (!listener.ok()) {
    return listener.status();
  }
  if (Status status = keepIn(program.value(), "listeners", listener.value()); !status.ok()) {
    return status;
  }
  return shownSome(program.value(), program.value().iterate("listeners"));
}

Status tryDestroy(const ProbeScratch& scratch) {
  if (!scratch.netnsStatus.ok()) {
    return scratch.netnsStatus;
  }
  const Result<OpenPair> pair = openPair();
  Result<SockDiag> diag = SockDiag::open(-1);
  if (!pair.ok() || !diag.ok()) {
    return pair.ok() ? diag.status() : pair.status();
  }
  const int client = pair.value().client.get();
  const auto local = io::localEndpoint(client);
  std::optional<TcpSocket> found;
  if (Status status = diag.value().list([&](const TcpSocket& each) {
        found = local.has_value() && each.local == *local ? each : found;
      });
      !status.ok()) {
    return status;
  }
  if (!found.has_value()) {
    return {Code::kInternal, "sock_diag does not list a connection"};
  }
  if (Status status = diag.value().end(*found); !status.ok()) {
    return status;
  }
  char byte = 0;
  const bool isOver = ::recv(client, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNABORTED;
  return isOver ? Status{} : Status{Code::kInternal, "the connection goes on"};
}

Status tryTypes() {
  const std::unique_ptr<btf, FreeTypes> types(btf__load_vmlinux_btf());
  if (types == nullptr) {
    return bpfError("/sys/kernel/btf/vmlinux", errno);
  }
  return btf__find_by_name_kind(types.get(), "tcp_sock", BTF_KIND_STRUCT) > 0
             ? Status{}
             : Status{Code::kInternal, "struct tcp_sock is not in it"};
}

}  // namespace weft::kernel
