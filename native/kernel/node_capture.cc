// SPDX-License-Identifier: Apache-2.0
#include "kernel/node_capture.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/carry.h"
#include "kernel/links.h"
#include "kernel/map_shape.h"

namespace weft::kernel {
namespace {

/// The link of the sockmap tier, which is opened after capture and puts its program there.
constexpr std::string_view kOfSockmapTier = "weft_refuse_ulp";

struct CgroupPlace {
  uint64_t id = 0;
  uint32_t level = 0;
};

/// The id that the kernel knows a cgroup by is its inode, and its level counts from the root of the
/// hierarchy, which is the topmost folder on that device.
Result<CgroupPlace> placeOf(const std::string& folder) {
  struct stat own {};
  if (::stat(folder.c_str(), &own) != 0) {
    return Status::fromErrno(folder.c_str(), errno);
  }
  std::error_code error;
  std::filesystem::path path = std::filesystem::canonical(folder, error);
  if (error) {
    return Status{Code::kInvalid, folder + ": " + error.message()};
  }
  uint32_t level = 0;
  for (; path.has_relative_path(); level++) {
    path = path.parent_path();
    struct stat above {};
    if (::stat(path.c_str(), &above) != 0 || above.st_dev != own.st_dev) {
      break;
    }
  }
  return CgroupPlace{own.st_ino, level};
}

/// The pods that have a link in a folder of pins.
std::vector<uint64_t> podsIn(const Pins& pins) {
  std::vector<uint64_t> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(pins.pods(), error)) {
    const std::string name = entry.path().filename().string();
    uint64_t pod = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pod).ec == std::errc{}) {
      all.push_back(pod);
    }
  }
  return all;
}

}  // namespace

Result<std::unique_ptr<NodeCapture>> NodeCapture::open(const NodeCaptureOptions& options) {
  std::unique_ptr<NodeCapture> node(new NodeCapture(options.pins));
  if (Status status = node->bringUp(options); !status.ok()) {
    return status;
  }
  node->prune();
  return node;
}

Status NodeCapture::uninstall(const std::string& pins) {
  const Pins places(pins);
  std::vector<Pins> all = places.others();
  all.push_back(places);
  std::error_code error;
  for (const Pins& each : all) {
    for (const std::string& folder : {each.links(), each.pods()}) {
      for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        dropLink(entry.path().string());
      }
    }
  }
  return places.remove();
}

/// Until a draft is accepted nothing has changed. From then on it is what the next start finds:
/// that attaches what this one did not come to, and drops what it did not drop.
Status NodeCapture::bringUp(const NodeCaptureOptions& options) {
  others_ = pins_.others();
  const Pins draft = pins_.draft();
  draft.drop();
  const bool moves = !pins_.exists() && !others_.empty();
  const Pins& home = moves ? draft : pins_;
  const UniqueFd cgroup(::open(options.cgroup.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (!cgroup) {
    return Status::fromErrno(options.cgroup.c_str(), errno);
  }
  if (Status status = home.make(); !status.ok()) {
    return status;
  }
  Result<std::unique_ptr<Carry>> carry =
      moves ? share(others_.front(), draft) : std::unique_ptr<Carry>();
  if (!carry.ok()) {
    return carry.status();
  }
  if (Status status = loadPrograms(home, options.without); !status.ok()) {
    return status;
  }
  if (Status status = openMaps(home); !status.ok()) {
    return status;
  }
  if (Status status = configure(options); !status.ok()) {
    return status;
  }
  const uint32_t zero = 0;
  const weft_sockmap none{};
  if (const int error = bpf_map_update_elem(sockmap_.get(), &zero, &none, BPF_ANY); error != 0) {
    return bpfError("forget refusals", error);
  }
  if (moves) {
    Status status = carry.value()->fill();
    if (status.ok()) {
      status = slots_.carry(others_.front());
    }
    if (status.ok()) {
      status = pins_.accept(draft);
    }
    if (!status.ok()) {
      return status;
    }
  }
  Status status = attachAll(cgroup.get());
  if (status.ok() && moves) {
    carry.value()->settle();
  }
  if (status.ok()) {
    dropOthers();
  }
  return status;
}

Result<std::unique_ptr<Carry>> NodeCapture::share(const Pins& from, const Pins& to) {
  Result<std::map<std::string, MapShape>> shapes =
      sharedShapes({objects::connect(), objects::sockops(), objects::lookup(), objects::sockmap()});
  if (!shapes.ok()) {
    return shapes.status();
  }
  auto carry = std::make_unique<Carry>(from, to, std::move(shapes).value());
  if (Status status = carry->share(); !status.ok()) {
    return status;
  }
  return carry;
}

/// All is loaded before anything is attached: a refusal changes nothing.
Status NodeCapture::loadPrograms(const Pins& home, const std::vector<Part>& without) {
  Result<NodePrograms> programs = loadNodePrograms(home.maps(), without);
  if (!programs.ok()) {
    return programs.status();
  }
  programs_ = std::move(programs).value();
  for (const Pins& other : others_) {
    for (const uint64_t pod : podsIn(other)) {
      Result<ObjectPtr> lookup = loadLookup(programs_.lookup, home.maps(), pod);
      if (!lookup.ok()) {
        return lookup.status();
      }
      lookups_.insert_or_assign(pod, std::move(lookup).value());
    }
  }
  return {};
}

/// What publishes tuples comes before what relies on it, and goes after it.
Status NodeCapture::attachAll(int cgroup) {
  const auto connect = [&] { return attach(*programs_.connect, cgroup); };
  const auto sockops = [&] { return attach(*programs_.sockops, cgroup); };
  const bool isDirect = programs_.has(Part::kDirect);
  if (Status status = isDirect ? sockops() : connect(); !status.ok()) {
    return status;
  }
  for (const auto& [pod, lookup] : std::exchange(lookups_, {})) {
    if (Status status = replaceLookup(*lookup, pod); !status.ok()) {
      return status;
    }
  }
  for (const ObjectPtr* object : {&programs_.dns, &programs_.ownName}) {
    if (Status status = *object ? attach(**object, cgroup) : Status{}; !status.ok()) {
      return status;
    }
  }
  if (Status status = isDirect ? connect() : sockops(); !status.ok()) {
    return status;
  }
  dropLost();
  programs_.drop();
  return {};
}

/// Programs of parts that an earlier start had.
void NodeCapture::dropLost() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(pins_.links(), error)) {
    const std::string name = entry.path().filename().string();
    if (!attached_.contains(name) && name != kOfSockmapTier) {
      dropLink(entry.path().string());
    }
  }
}

/// In the place of the one that another layout has for this pod, if its namespace is there still.
Status NodeCapture::replaceLookup(bpf_object& lookup, uint64_t pod) {
  for (const Pins& other : others_) {
    const Result<UniqueFd> link = openPinned(other.pod(pod));
    const uint64_t target = link.ok() ? targetOf(link.value().get()) : 0;
    if (target != 0) {
      const bpf_program* program = bpf_object__next_program(&lookup, nullptr);
      Status status = adopt(pins_.pod(pod), other.pod(pod), target);
      return !status.ok() ? status : pinAttached(*program, pins_.pod(pod), target, [] {
        return static_cast<bpf_link*>(nullptr);
      });
    }
  }
  return {};
}

/// What this layout has no successor of ends with them, but for what is loaded later.
void NodeCapture::dropOthers() {
  for (const Pins& other : std::exchange(others_, {})) {
    for (const auto& [from, to] :
         {std::pair(other.links(), pins_.links()), std::pair(other.pods(), pins_.pods())}) {
      std::error_code error;
      for (const auto& entry : std::filesystem::directory_iterator(from, error)) {
        const std::string old = entry.path().string();
        const std::string name = entry.path().filename().string();
        if (const Result<UniqueFd> link = openPinned(old); link.ok() && name == kOfSockmapTier) {
          static_cast<void>(adopt(to + "/" + name, old, targetOf(link.value().get())));
        }
        if (!openPinned(to + "/" + name).ok()) {
          dropLink(old);
        }
      }
    }
    other.drop();
  }
}

Status NodeCapture::openMaps(const Pins& home) {
  const std::pair<UniqueFd&, const char*> all[] = {
      {config_, "weft_config"},   {podsMap_, "weft_pods"},      {addresses_, "weft_addresses"},
      {origins_, "weft_origins"}, {passes_, "weft_passes"},     {counters_, "weft_counters"},
      {directs_, "weft_directs"}, {verdicts_, "weft_verdicts"}, {sockmap_, "weft_sockmap"},
  };
  for (const auto& [fd, name] : all) {
    Result<UniqueFd> opened = openPinned(home.map(name));
    if (!opened.ok()) {
      return opened.status();
    }
    fd = std::move(opened).value();
  }
  Result<Slots> slots = Slots::open(home);
  if (!slots.ok()) {
    return slots.status();
  }
  slots_ = std::move(slots).value();
  return {};
}

Status NodeCapture::configure(const NodeCaptureOptions& options) {
  weft_config config{};
  const Result<CgroupPlace> proxy = placeOf(options.proxyCgroup);
  if (!proxy.ok()) {
    return proxy.status();
  }
  config.proxy_cgroup = proxy.value().id;
  config.proxy_level = proxy.value().level;
  if (!options.probeCgroup.empty()) {
    const Result<CgroupPlace> probe = placeOf(options.probeCgroup);
    if (!probe.ok()) {
      return probe.status();
    }
    config.probe_cgroup = probe.value().id;
    config.probe_level = probe.value().level;
  }
  config.flags = options.passWhenDown ? WEFT_CONFIG_PASS_WHEN_DOWN : 0;
  const uint32_t zero = 0;
  const int error = bpf_map_update_elem(config_.get(), &zero, &config, BPF_ANY);
  return error == 0 ? Status{} : bpfError("configure", error);
}

Status NodeCapture::attach(bpf_object& object, int cgroup) {
  struct stat place {};
  if (::fstat(cgroup, &place) != 0) {
    return Status::fromErrno("the pods' cgroup", errno);
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, &object) {
    const std::string path = pins_.link(bpf_program__name(program));
    for (const Pins& other : others_) {
      Status status = adopt(path, other.link(bpf_program__name(program)), place.st_ino);
      if (!status.ok()) {
        return status;
      }
    }
    if (Status status = pinAttached(*program, path, place.st_ino,
                                    [&] { return bpf_program__attach_cgroup(program, cgroup); });
        !status.ok()) {
      return status;
    }
    attached_.insert(bpf_program__name(program));
  }
  return {};
}

Status NodeCapture::attachLookup(int netns, uint64_t cookie) {
  Result<ObjectPtr> object = loadLookup(programs_.lookup, pins_.maps(), cookie);
  if (!object.ok()) {
    return object.status();
  }
  struct stat place {};
  if (::fstat(netns, &place) != 0) {
    return Status::fromErrno("the pod's network namespace", errno);
  }
  bpf_program* program = bpf_object__next_program(object.value().get(), nullptr);
  return pinAttached(*program, pins_.pod(cookie), place.st_ino,
                     [&] { return bpf_program__attach_netns(program, netns); });
}

Status NodeCapture::addTables(uint64_t cookie) {
  if (Status status = addTable(origins_.get(), cookie, sizeof(weft_origin)); !status.ok()) {
    return status;
  }
  if (Status status = addTable(directs_.get(), cookie, sizeof(weft_direct)); !status.ok()) {
    return status;
  }
  return addTable(passes_.get(), cookie, sizeof(weft_pass));
}

Status NodeCapture::setAddresses(uint64_t cookie, std::span<const Ip> addresses) {
  dropAddresses(cookie);
  if (addresses.size() > WEFT_ADDRESSES_OF_POD_MAX) {
    return {Code::kLimit, "the pod has " + std::to_string(addresses.size()) +
                              " addresses, which is over " +
                              std::to_string(WEFT_ADDRESSES_OF_POD_MAX)};
  }
  const weft_address owner{cookie};
  for (const Ip& ip : addresses) {
    const weft_ip key = toAbi(ip);
    weft_address other{};
    const bool isTaken = bpf_map_lookup_elem(addresses_.get(), &key, &other) == 0;
    if (isTaken && has(other.netns)) {
      return {Code::kConflict, ip.toString() + " is another pod's address"};
    }
    if (const int error = bpf_map_update_elem(addresses_.get(), &key, &owner, BPF_ANY);
        error != 0) {
      return bpfError("note the address " + ip.toString(), error);
    }
  }
  return {};
}

std::vector<Ip> NodeCapture::addresses(uint64_t cookie) const {
  std::vector<Ip> own;
  weft_ip key{};
  weft_address owner{};
  for (const void* previous = nullptr; bpf_map_get_next_key(addresses_.get(), previous, &key) == 0;
       previous = &key) {
    if (bpf_map_lookup_elem(addresses_.get(), &key, &owner) == 0 && owner.netns == cookie) {
      own.push_back(fromAbi(key));
    }
  }
  return own;
}

void NodeCapture::dropAddresses(uint64_t cookie) {
  for (const Ip& ip : addresses(cookie)) {
    const weft_ip key = toAbi(ip);
    bpf_map_delete_elem(addresses_.get(), &key);
  }
}

Status NodeCapture::refuseSockmap(uint32_t gates) {
  const uint32_t zero = 0;
  weft_sockmap said{};
  bpf_map_lookup_elem(sockmap_.get(), &zero, &said);
  said.refused = gates;
  said.asked++;
  const int error = bpf_map_update_elem(sockmap_.get(), &zero, &said, BPF_ANY);
  return error == 0 ? Status{} : bpfError("note a refusal", error);
}

Status NodeCapture::enrol(int netns, uint64_t cookie, std::span<const Ip> addresses, bool direct,
                          bool sockmap) {
  prune();
  weft_pod pod{};
  for (const Ip& ip : addresses) {
    (ip.isV4() ? pod.ipv4 : pod.ipv6) = toAbi(ip);
  }
  const bool isDirect = direct && programs_.has(Part::kDirect);
  // Addresses are read inside the pod, which may have given itself those of others since.
  const bool isKnown = bpf_map_lookup_elem(podsMap_.get(), &cookie, &pod) == 0;
  pod.flags = (isDirect ? WEFT_POD_DIRECT : 0) | (isDirect && sockmap ? WEFT_POD_SOCKMAP : 0);
  if (pod.slots == 0) {
    pod.slots = slots_.unused();
  }
  // What comes in is captured before what goes out, which is the last step: it is in force whole.
  Status status = addTables(cookie);
  if (status.ok() && !isKnown) {
    status = setAddresses(cookie, addresses);
  }
  if (status.ok()) {
    status = attachLookup(netns, cookie);
  }
  if (status.ok() && bpf_map_update_elem(podsMap_.get(), &cookie, &pod, BPF_ANY) != 0) {
    status = bpfError("note the pod", errno);
  }
  if (!status.ok() && !isKnown) {
    static_cast<void>(release(cookie));
  }
  return status;
}

Status NodeCapture::release(uint64_t cookie) {
  bpf_map_delete_elem(podsMap_.get(), &cookie);
  dropLink(pins_.pod(cookie));
  dropAddresses(cookie);
  bpf_map_delete_elem(origins_.get(), &cookie);
  bpf_map_delete_elem(passes_.get(), &cookie);
  bpf_map_delete_elem(directs_.get(), &cookie);
  bpf_map_delete_elem(verdicts_.get(), &cookie);
  return {};
}

bool NodeCapture::has(uint64_t cookie) const {
  weft_pod pod{};
  return bpf_map_lookup_elem(podsMap_.get(), &cookie, &pod) == 0;
}

void NodeCapture::prune() {
  for (const uint64_t pod : podsIn(pins_)) {
    const Result<UniqueFd> link = openPinned(pins_.pod(pod));
    if (link.ok() && targetOf(link.value().get()) == 0) {
      static_cast<void>(release(pod));
    }
  }
}

std::map<std::string, uint64_t> NodeCapture::counters() const {
  return readCounters(counters_.get());
}

}  // namespace weft::kernel
