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
#include <utility>
#include <vector>

#include "kernel/links.h"

namespace weft::kernel {
namespace {

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

/// Sets the one constant that the programs of an object are loaded with.
template <typename T>
Status setConstant(bpf_object& object, T constant) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, &object) {
    size_t size = 0;
    void* value = bpf_map__initial_value(map, &size);
    if (value != nullptr && size == sizeof constant &&
        std::string(bpf_map__name(map)).ends_with(".rodata")) {
      std::memcpy(value, &constant, sizeof constant);
      return {};
    }
  }
  return {Code::kInternal, "the object has no such constant"};
}

/// Whether programs may choose the error of a refused connect(): Linux 5.18.
uint32_t hasRetval() {
  return libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, nullptr) == 1;
}

}  // namespace

Result<std::unique_ptr<NodeCapture>> NodeCapture::open(const NodeCaptureOptions& options) {
  std::unique_ptr<NodeCapture> node(new NodeCapture(options.pins));
  if (Status status = node->pins_.make(); !status.ok()) {
    return status;
  }
  if (Status status = node->loadPrograms(options); !status.ok()) {
    return status;
  }
  node->prune();
  return node;
}

Status NodeCapture::uninstall(const std::string& pins) {
  const Pins places(pins);
  std::error_code error;
  for (const std::string& folder : {places.links(), places.pods()}) {
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      dropLink(entry.path().string());
    }
  }
  return places.remove();
}

Status NodeCapture::loadPrograms(const NodeCaptureOptions& options) {
  // All is loaded before anything is attached: a refusal changes nothing.
  Result<ObjectPtr> connect = load(connectObject(), pins_.maps(), [](bpf_object& opened) {
    return setConstant(opened, hasRetval());
  });
  if (!connect.ok()) {
    return connect.status();
  }
  Result<ObjectPtr> sockops = load(sockopsObject(), pins_.maps());
  if (!sockops.ok()) {
    return sockops.status();
  }
  if (Result<ObjectPtr> lookup = load(lookupObject(), pins_.maps()); !lookup.ok()) {
    return lookup.status();
  }
  const UniqueFd cgroup(::open(options.cgroup.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (!cgroup) {
    return Status::fromErrno(options.cgroup.c_str(), errno);
  }
  if (Status status = openMaps(); !status.ok()) {
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
  // What publishes tuples comes before what relies on it.
  if (Status status = attach(*sockops.value(), cgroup.get()); !status.ok()) {
    return status;
  }
  return attach(*connect.value(), cgroup.get());
}

Status NodeCapture::openMaps() {
  const std::pair<UniqueFd&, const char*> all[] = {
      {config_, "weft_config"},   {podsMap_, "weft_pods"},      {addresses_, "weft_addresses"},
      {origins_, "weft_origins"}, {passes_, "weft_passes"},     {counters_, "weft_counters"},
      {directs_, "weft_directs"}, {verdicts_, "weft_verdicts"}, {sockmap_, "weft_sockmap"},
  };
  for (const auto& [fd, name] : all) {
    Result<UniqueFd> opened = openPinned(pins_.map(name));
    if (!opened.ok()) {
      return opened.status();
    }
    fd = std::move(opened).value();
  }
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
    if (Status status = pinAttached(*program, path, place.st_ino,
                                    [&] { return bpf_program__attach_cgroup(program, cgroup); });
        !status.ok()) {
      return status;
    }
  }
  return {};
}

Status NodeCapture::attachLookup(int netns, uint64_t cookie) {
  Result<ObjectPtr> object = load(lookupObject(), pins_.maps(),
                                  [&](bpf_object& opened) { return setConstant(opened, cookie); });
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
  // Addresses are read inside the pod, which may have given itself those of others since.
  const bool isKnown = bpf_map_lookup_elem(podsMap_.get(), &cookie, &pod) == 0;
  pod.flags = (direct ? WEFT_POD_DIRECT : 0) | (direct && sockmap ? WEFT_POD_SOCKMAP : 0);
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
  std::vector<uint64_t> gone;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(pins_.pods(), error)) {
    const std::string name = entry.path().filename().string();
    uint64_t cookie = 0;
    const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), cookie);
    const Result<UniqueFd> link = openPinned(entry.path().string());
    if (bad == std::errc{} && link.ok() && targetOf(link.value().get()) == 0) {
      gone.push_back(cookie);
    }
  }
  for (const uint64_t cookie : gone) {
    static_cast<void>(release(cookie));
  }
}

std::map<std::string, uint64_t> NodeCapture::counters() const {
  return readCounters(counters_.get());
}

}  // namespace weft::kernel
