// SPDX-License-Identifier: Apache-2.0
#include "kernel/sockmap_rig.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "io/netns.h"
#include "io/sys.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

namespace weft::kernel {
namespace {

constexpr int kBacklog = 16;
/// Most that a handshake takes: also on a loopback the kernel may put off what arrives.
constexpr int kWaitMs = 5000;

bool waitFor(int socket, short events) {
  pollfd wanted{socket, events, 0};
  return ::poll(&wanted, 1, kWaitMs) == 1;
}

uint64_t cookieOf(int socket) {
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  return ::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

/// The endpoint as connect() and bind() want it: of IPv4's own family, or mapped into IPv6.
struct Place {
  sockaddr_storage storage{};
  socklen_t size = 0;

  Place(const Endpoint& at, int family) {
    const sockaddr_in6 wide = at.toSockaddr();
    if (family == AF_INET6) {
      std::memcpy(&storage, &wide, sizeof wide);
      size = sizeof wide;
      return;
    }
    sockaddr_in narrow{};
    narrow.sin_family = AF_INET;
    narrow.sin_port = wide.sin6_port;
    std::memcpy(&narrow.sin_addr, &at.ip.bytes[12], sizeof narrow.sin_addr);
    std::memcpy(&storage, &narrow, sizeof narrow);
    size = sizeof narrow;
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

std::optional<Endpoint> peerOf(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return std::nullopt;
  }
  return Endpoint::fromSockaddr(address);
}

/// Maps of its own, pinned nowhere.
Status withoutPins(bpf_object& object) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, &object) {
    if (const int error = bpf_map__set_pin_path(map, nullptr); error != 0) {
      return bpfError("keep a map to oneself", error);
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<SockmapRig>> SockmapRig::open(const char* address) {
  Result<std::unique_ptr<ScratchNetns>> netns = ScratchNetns::enter();
  if (!netns.ok()) {
    return netns.status();
  }
  Result<ObjectPtr> object = load(objects::sockmap(), "/", withoutPins);
  if (!object.ok()) {
    return object.status();
  }
  Result<SockmapPrograms> programs = SockmapPrograms::install(std::move(object).value());
  if (!programs.ok()) {
    return programs.status();
  }
  std::unique_ptr<SockmapRig> rig(
      new SockmapRig(std::move(netns).value(), std::move(programs).value(), address));
  if (Status status = rig->bePods(); !status.ok()) {
    return status;
  }
  return rig;
}

Status SockmapRig::bePods() {
  const Result<uint64_t> cookie = io::netnsCookie(-1);
  if (!cookie.ok()) {
    return cookie.status();
  }
  cookie_ = cookie.value();
  weft_pod pod{};
  pod.flags = WEFT_POD_DIRECT | WEFT_POD_SOCKMAP;
  const weft_ip ip = toAbi(*Ip::parse(address_));
  const weft_address owner{cookie_};
  if (bpf_map_update_elem(programs_.map("weft_pods"), &cookie_, &pod, BPF_ANY) != 0 ||
      bpf_map_update_elem(programs_.map("weft_addresses"), &ip, &owner, BPF_ANY) != 0) {
    return bpfError("note the pods", errno);
  }
  const int directs = programs_.map("weft_directs");
  if (Status status = addTable(directs, cookie_, sizeof(weft_direct)); !status.ok()) {
    return status;
  }
  uint32_t id = 0;
  bpf_map_lookup_elem(directs, &cookie_, &id);
  directs_ = UniqueFd(bpf_map_get_fd_by_id(id));
  return directs_ ? Status{} : bpfError("open the pod's table", errno);
}

Result<UniqueFd> SockmapRig::listen() const {
  const Place any({*Ip::parse(address_), 0}, family_);
  UniqueFd fd(::socket(family_, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd || ::bind(fd.get(), any.get(), any.size) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return Status::fromErrno("listen", errno);
  }
  return fd;
}

Result<UniqueFd> SockmapRig::connectTo(int listener) const {
  const std::optional<Endpoint> at = io::localEndpoint(listener);
  if (!at.has_value()) {
    return Status::fromErrno("getsockname", errno);
  }
  const Place to(*at, family_);
  UniqueFd fd(::socket(family_, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd || (::connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS)) {
    return Status::fromErrno("connect", errno);
  }
  if (!waitFor(fd.get(), POLLOUT)) {
    return Status{Code::kTimeout, "connect to itself: not within its time"};
  }
  return fd;
}

Result<SockmapRig::Ends> SockmapRig::connect() const {
  const Result<UniqueFd> listener = listen();
  if (!listener.ok()) {
    return listener.status();
  }
  Result<UniqueFd> client = connectTo(listener.value().get());
  if (!client.ok()) {
    return client.status();
  }
  if (!waitFor(listener.value().get(), POLLIN)) {
    return Status{Code::kTimeout, "accept from itself: not within its time"};
  }
  UniqueFd server(
      ::accept4(listener.value().get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!server) {
    return Status::fromErrno("accept", errno);
  }
  return Ends{std::move(client).value(), std::move(server), {}};
}

Status SockmapRig::enrol(Ends& ends) const {
  const std::optional<Endpoint> client = io::localEndpoint(ends.client.get());
  const std::optional<Endpoint> server = peerOf(ends.client.get());
  if (!client.has_value() || !server.has_value()) {
    return {Code::kInvalid, "the connection has no two ends"};
  }
  ends.tuple = {toAbi(client->ip), toAbi(server->ip), client->port, server->port};
  weft_direct direct{};
  direct.destination = cookie_;
  direct.cookie = cookieOf(ends.client.get());
  direct.state = WEFT_DIRECT_ESTABLISHED;
  if (bpf_map_update_elem(directs_.get(), &ends.tuple, &direct, BPF_ANY) != 0) {
    return bpfError("publish a connection", errno);
  }
  return programs_.promote();
}

Result<SockmapRig::Ends> SockmapRig::pair() const {
  Result<Ends> ends = connect();
  if (!ends.ok()) {
    return ends;
  }
  if (Status status = enrol(ends.value()); !status.ok()) {
    return status;
  }
  const weft_pair known = this->known(ends.value());
  if (known.ends[WEFT_CLIENT].cookie == 0 || known.ends[WEFT_SERVER].cookie == 0) {
    return Status{Code::kInternal, "a pass over the sockets did not enrol both ends"};
  }
  return ends;
}

weft_pair SockmapRig::known(const Ends& ends) const {
  weft_pair pair{};
  bpf_map_lookup_elem(programs_.map("weft_pairs"), &ends.tuple, &pair);
  return pair;
}

Status SockmapRig::setOff(const Ends& ends, bool off) const {
  weft_pair pair = known(ends);
  pair.off = off ? 1 : 0;
  const int error = bpf_map_update_elem(programs_.map("weft_pairs"), &ends.tuple, &pair, BPF_EXIST);
  return error == 0 ? Status{} : bpfError("take a connection off the tier", error);
}

std::map<std::string, uint64_t> SockmapRig::counters() const {
  return readCounters(programs_.map("weft_counters"));
}

}  // namespace weft::kernel
