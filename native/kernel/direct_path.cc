// SPDX-License-Identifier: Apache-2.0
#include "kernel/direct_path.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "kernel/map_shape.h"
#include "kernel/sock_diag.h"

namespace weft::kernel {
namespace {

Endpoint endpointOf(const weft_ip& ip, uint32_t port) {
  return {fromAbi(ip), static_cast<uint16_t>(port)};
}

/// A table for one destination, filled before it is put in its place.
Result<UniqueFd> tableOf(std::span<const io::DirectVerdict> verdicts) {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_NO_PREALLOC;
  UniqueFd table(bpf_map_create(BPF_MAP_TYPE_HASH, "weft_of_pod", sizeof(weft_verdict_key),
                                sizeof(weft_verdict), WEFT_ENTRIES_MAX, &options));
  if (!table) {
    return bpfError("a table of verdicts", errno);
  }
  for (const io::DirectVerdict& each : verdicts) {
    const weft_verdict_key key{each.source, each.port, 0};
    const auto action = static_cast<uint32_t>(each.allowed ? WEFT_ALLOW : WEFT_DENY);
    const weft_verdict verdict{each.expiresNs, action, 0};
    if (bpf_map_update_elem(table.get(), &key, &verdict, BPF_ANY) != 0) {
      return bpfError("a verdict", errno);
    }
  }
  return table;
}

/// Marks of sockets that the proxy has in a pod, and of those that it connects to: the kernel takes
/// them over when a SYN is accepted; see src/cni/pod-routes.ts.
constexpr uint32_t kMarkMask = 0xfff;
constexpr uint32_t kProxyMark = 0x539;
constexpr uint32_t kReturnMark = 0x111;

bool isOfProxy(const TcpSocket& socket) {
  const uint32_t mark = socket.mark & kMarkMask;
  return mark == kProxyMark || mark == kReturnMark;
}

}  // namespace

Result<std::unique_ptr<KernelDirectPath>> KernelDirectPath::open(const Pins& pins) {
  Result<KernelServices> services = KernelServices::open(pins);
  if (!services.ok()) {
    return services.status();
  }
  std::unique_ptr<KernelDirectPath> path(new KernelDirectPath(std::move(services).value()));
  const std::pair<UniqueFd&, const char*> all[] = {{path->pods_, "weft_pods"},
                                                   {path->verdicts_, "weft_verdicts"},
                                                   {path->directs_, "weft_directs"},
                                                   {path->addresses_, "weft_addresses"},
                                                   {path->events_, "weft_events"}};
  for (const auto& [fd, name] : all) {
    Result<UniqueFd> opened = openPinned(pins.map(name));
    if (!opened.ok()) {
      return opened.status();
    }
    fd = std::move(opened).value();
  }
  path->ring_ = ring_buffer__new(path->events_.get(), onRecord, path.get(), nullptr);
  if (path->ring_ == nullptr) {
    return bpfError("the ring of events", errno);
  }
  return path;
}

KernelDirectPath::~KernelDirectPath() {
  ring_buffer__free(ring_);
}

Status KernelDirectPath::publish(uint64_t destination,
                                 std::span<const io::DirectVerdict> verdicts) {
  const Result<UniqueFd> table = tableOf(verdicts);
  if (!table.ok()) {
    withdraw(destination);  // old verdicts would be wrong ones; the proxy knows
    return table.status();
  }
  const int fd = table.value().get();
  if (bpf_map_update_elem(verdicts_.get(), &destination, &fd, BPF_ANY) != 0) {
    const int error = errno;
    withdraw(destination);
    return bpfError("publish verdicts", error);
  }
  return {};
}

void KernelDirectPath::withdraw(uint64_t destination) {
  bpf_map_delete_elem(verdicts_.get(), &destination);
}

Status KernelDirectPath::publishServices(const io::ServiceTables& tables) {
  return services_.publish(tables);
}

std::vector<io::DirectFlow> KernelDirectPath::flowsOf(uint64_t source) const {
  std::vector<io::DirectFlow> all;
  uint32_t id = 0;
  if (bpf_map_lookup_elem(directs_.get(), &source, &id) != 0) {
    return all;
  }
  const UniqueFd table(bpf_map_get_fd_by_id(id));
  const TableShape shape{BPF_MAP_TYPE_HASH, sizeof(weft_tuple), sizeof(weft_direct),
                         WEFT_ENTRIES_MAX, BPF_F_NO_PREALLOC};
  for (const Key& raw : keysOf(table.get(), shape)) {
    weft_tuple key{};
    weft_direct direct{};
    std::memcpy(&key, raw.data(), sizeof key);
    if (bpf_map_lookup_elem(table.get(), &key, &direct) == 0) {
      all.push_back({source, direct.destination, endpointOf(key.remote, key.remote_port),
                     endpointOf(key.local, key.local_port), direct.cookie,
                     endpointOf(direct.asked, direct.asked_port)});
    }
  }
  return all;
}

bool KernelDirectPath::isOn(uint64_t pod) const {
  weft_pod found{};
  return bpf_map_lookup_elem(pods_.get(), &pod, &found) == 0 &&
         (found.flags & WEFT_POD_DIRECT) != 0;
}

Status KernelDirectPath::end(std::span<const io::DirectFlow> flows, int netns) {
  Result<SockDiag> sockets = SockDiag::open(netns);
  if (!sockets.ok()) {
    return sockets.status();
  }
  Status status;
  for (const io::DirectFlow& flow : flows) {
    const TcpSocket socket{flow.client, flow.server, 0, flow.cookie};
    if (Status ended = sockets.value().end(socket); !ended.ok()) {
      status = std::move(ended);
    }
  }
  return status;
}

uint64_t KernelDirectPath::ownerOf(const Ip& ip) const {
  const weft_ip key = toAbi(ip);
  weft_address owner{};
  return bpf_map_lookup_elem(addresses_.get(), &key, &owner) == 0 ? owner.netns : 0;
}

Status KernelDirectPath::endAccepted(uint64_t destination, int netns,
                                     const std::function<bool(const io::DirectFlow&)>& isAllowed) {
  Result<SockDiag> sockets = SockDiag::open(netns);
  if (!sockets.ok()) {
    return sockets.status();
  }
  // What the pod opened itself has another direction.
  std::set<uint64_t> opened;
  for (const io::DirectFlow& flow : flowsOf(destination)) {
    opened.insert(flow.cookie);
  }
  std::vector<TcpSocket> doomed;
  Status status = sockets.value().list([&](const TcpSocket& socket) {
    const uint64_t source = ownerOf(socket.remote.ip);
    const bool isBetweenPods =
        source != 0 && source != destination && ownerOf(socket.local.ip) == destination;
    if (isBetweenPods && !isOfProxy(socket) && !opened.contains(socket.cookie) &&
        !isAllowed({source, destination, socket.remote, socket.local, 0})) {
      doomed.push_back(socket);
    }
  });
  for (const TcpSocket& socket : doomed) {
    if (Status ended = sockets.value().end(socket); !ended.ok()) {
      status = std::move(ended);
    }
  }
  return status;
}

int KernelDirectPath::eventsFd() const {
  return ring_buffer__epoll_fd(ring_);
}

int KernelDirectPath::onRecord(void* self, void* record, size_t size) {
  const auto* path = static_cast<KernelDirectPath*>(self);
  weft_event raw{};
  if (size < sizeof raw || path->each_ == nullptr) {
    return 0;
  }
  std::memcpy(&raw, record, sizeof raw);
  using Kind = io::DirectEvent::Kind;
  io::DirectEvent event;
  event.kind = raw.kind == WEFT_EVENT_DIRECT_OPENED   ? Kind::kOpened
               : raw.kind == WEFT_EVENT_DIRECT_CLOSED ? Kind::kClosed
                                                      : Kind::kDenied;
  event.flow = {raw.source,
                raw.destination,
                endpointOf(raw.tuple.remote, raw.tuple.remote_port),
                endpointOf(raw.tuple.local, raw.tuple.local_port),
                0,
                endpointOf(raw.asked, raw.asked_port)};
  event.established = raw.established != 0;
  event.refused = raw.refused != 0;
  event.bytesSent = raw.bytes_sent;
  event.bytesReceived = raw.bytes_received;
  event.durationNs = raw.duration_ns;
  event.rttMicros = raw.rtt_us;
  event.retransmits = raw.retransmits;
  (*path->each_)(event);
  return 0;
}

void KernelDirectPath::take(const std::function<void(const io::DirectEvent&)>& each) {
  each_ = &each;
  ring_buffer__consume(ring_);
  each_ = nullptr;
}

}  // namespace weft::kernel
