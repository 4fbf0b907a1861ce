// SPDX-License-Identifier: Apache-2.0
#include "kernel/captures.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <utility>

#include "base/clock.h"
#include "io/netns.h"
#include "io/sys.h"
#include "kernel/bpf.h"
#include "kernel/direct_path.h"
#include "kernel/pins.h"
#include "kernel/sockmap_gates.h"

namespace weft::kernel {
namespace {

constexpr uint16_t kOutboundPort = 15001;
constexpr uint16_t kPlaintextPort = 15006;
constexpr uint16_t kHbonePort = 15008;
/// What policy routing in the pod sends back to the proxy; see src/cni/pod-routes.ts.
constexpr uint32_t kReturnMark = 0x111;

std::optional<weft_listener_kind> kindOf(uint16_t port) {
  switch (port) {
    case kOutboundPort:
      return WEFT_LISTENER_OUTBOUND;
    case kPlaintextPort:
      return WEFT_LISTENER_PLAINTEXT;
    case kHbonePort:
      return WEFT_LISTENER_HBONE;
  }
  return std::nullopt;
}

}  // namespace

/// The pinned maps that a proxy uses.
struct KernelCaptures::Maps {
  UniqueFd pods;
  UniqueFd origins;
  UniqueFd listeners;
  UniqueFd heartbeat;
  UniqueFd counters;
  UniqueFd sockmap;  ///< None below the pins of an agent that has no such tier.
  UniqueFd slots;    ///< Or that counts no slots.
};

namespace {

/// One pod that is captured in the kernel.
class KernelCapture final : public io::Capture {
 public:
  KernelCapture(uint64_t netns, UniqueFd origins, int listeners)
      : netns_(netns), origins_(std::move(origins)), listeners_(listeners) {}

  Status serve(int listener, uint16_t port) override {
    const std::optional<weft_listener_kind> kind = kindOf(port);
    if (!kind.has_value()) {
      return {};
    }
    const weft_listener_key key{netns_, static_cast<uint32_t>(*kind), 0};
    const auto socket = static_cast<uint64_t>(listener);
    return bpf_map_update_elem(listeners_, &key, &socket, BPF_ANY) == 0
               ? Status{}
               : bpfError("note the listener at port " + std::to_string(port), errno);
  }

  std::optional<io::Origin> outboundDst(int fd, const Endpoint& peer) override {
    const auto local = io::localEndpoint(fd);
    if (!local.has_value()) {
      return std::nullopt;
    }
    const weft_tuple key{toAbi(peer.ip), toAbi(local->ip), peer.port, local->port};
    weft_origin origin{};
    if (bpf_map_lookup_and_delete_elem(origins_.get(), &key, &origin) != 0) {
      return std::nullopt;
    }
    return io::Origin{
        {fromAbi(origin.ip), static_cast<uint16_t>(origin.port)},
        {fromAbi(origin.picked), static_cast<uint16_t>(origin.picked_port)},
    };
  }

  std::optional<Endpoint> inboundDst(int fd) override {
    const auto local = io::localEndpoint(fd);
    const bool captured =
        local.has_value() && !local->ip.isLoopback() && local->port != kPlaintextPort;
    return captured ? local : std::nullopt;
  }

  uint32_t returnMark() const override { return kReturnMark; }

 private:
  const uint64_t netns_;
  const UniqueFd origins_;
  const int listeners_;
};

}  // namespace

KernelCaptures::KernelCaptures(std::string pins) : pins_(std::move(pins)) {}
KernelCaptures::~KernelCaptures() = default;

std::shared_ptr<KernelCaptures::Maps> KernelCaptures::maps() {
  const std::lock_guard lock(mutex_);
  if (maps_ == nullptr) {
    const Pins places(pins_);
    Result<UniqueFd> pods = openPinned(places.map("weft_pods"));
    Result<UniqueFd> origins = openPinned(places.map("weft_origins"));
    Result<UniqueFd> listeners = openPinned(places.map("weft_listeners"));
    Result<UniqueFd> heartbeat = openPinned(places.map("weft_heartbeat"));
    Result<UniqueFd> counters = openPinned(places.map("weft_counters"));
    Result<UniqueFd> sockmap = openPinned(places.map("weft_sockmap"));
    Result<UniqueFd> slots = openPinned(places.map("weft_slots"));
    if (pods.ok() && origins.ok() && listeners.ok() && heartbeat.ok() && counters.ok()) {
      maps_ = std::make_shared<Maps>(Maps{std::move(pods).value(), std::move(origins).value(),
                                          std::move(listeners).value(),
                                          std::move(heartbeat).value(), std::move(counters).value(),
                                          sockmap.ok() ? std::move(sockmap).value() : UniqueFd(),
                                          slots.ok() ? std::move(slots).value() : UniqueFd()});
    }
  }
  return maps_;
}

io::CaptureStats KernelCaptures::stats() {
  io::CaptureStats stats;
  const std::shared_ptr<Maps> all = maps();
  if (all == nullptr) {
    return stats;
  }
  uint64_t key = 0;
  for (const void* previous = nullptr; bpf_map_get_next_key(all->pods.get(), previous, &key) == 0;
       previous = &key) {
    stats.pods++;
    weft_pod pod{};
    weft_slots slots{};
    if (bpf_map_lookup_elem(all->pods.get(), &key, &pod) == 0 &&
        bpf_map_lookup_elem(all->slots.get(), &pod.slots, &slots) == 0) {
      stats.directSlots += slots.taken;
    }
  }
  stats.counters = readCounters(all->counters.get());
  const uint32_t zero = 0;
  weft_sockmap said{};
  if (bpf_map_lookup_elem(all->sockmap.get(), &zero, &said) == 0) {
    stats.sockmapRefused = gateNames(said.refused);
  }
  return stats;
}

void KernelCaptures::beat() {
  if (const std::shared_ptr<Maps> all = maps(); all != nullptr) {
    const uint32_t zero = 0;
    const uint64_t nowNs = monotonicMicros() * 1000;
    bpf_map_update_elem(all->heartbeat.get(), &zero, &nowNs, BPF_ANY);
  }
}

std::unique_ptr<io::DirectPath> KernelCaptures::directPath() {
  Result<std::unique_ptr<KernelDirectPath>> path = KernelDirectPath::open(Pins(pins_));
  return path.ok() ? std::move(path).value() : nullptr;
}

std::shared_ptr<io::Capture> KernelCaptures::of(int netns) {
  const std::shared_ptr<Maps> all = maps();
  const Result<uint64_t> cookie =
      all == nullptr ? Status{Code::kUnavailable, "no maps"} : io::netnsCookie(netns);
  if (!cookie.ok()) {
    return others_.of(netns);
  }
  const uint64_t key = cookie.value();
  weft_pod pod{};
  uint32_t id = 0;
  if (bpf_map_lookup_elem(all->pods.get(), &key, &pod) != 0 ||
      bpf_map_lookup_elem(all->origins.get(), &key, &id) != 0) {
    return others_.of(netns);
  }
  UniqueFd origins(bpf_map_get_fd_by_id(id));
  if (!origins) {
    return others_.of(netns);
  }
  // The maps are kept by this object, which outlives all pods.
  return std::make_shared<KernelCapture>(key, std::move(origins), all->listeners.get());
}

}  // namespace weft::kernel
