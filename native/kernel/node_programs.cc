// SPDX-License-Identifier: Apache-2.0
#include "kernel/node_programs.h"

#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace weft::kernel {
namespace {

/// Sets the one constant that the programs of an object are loaded with.
template <typename T>
Status setConstant(bpf_object& object, T constant) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, &object) {
    size_t size = 0;
    void* value = bpf_map__initial_value(map, &size);
    if (value != nullptr && size == sizeof constant &&
        std::string_view(bpf_map__name(map)).ends_with(".rodata")) {
      std::memcpy(value, &constant, sizeof constant);
      return {};
    }
  }
  return {Code::kInternal, "the object has no such constant"};
}

bool hasHelper(bpf_func_id helper) {
  return libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, helper, nullptr) == 1;
}

/// Error codes: Linux 5.18. Sockets of MPTCP: 5.19, where there are any, and types of the kernel.
weft_abilities abilities(bool hasDns) {
  weft_abilities here{};
  here.retval = hasHelper(BPF_FUNC_set_retval) ? 1 : 0;
  const bool isKnown =
      ::access("/proc/sys/net/mptcp", F_OK) == 0 && ::access("/sys/kernel/btf/vmlinux", F_OK) == 0;
  here.mptcp = isKnown && hasHelper(BPF_FUNC_skc_to_mptcp_sock) ? 1 : 0;
  here.dns = hasDns ? 1 : 0;
  return here;
}

/// Loads the programs of one node, part by part.
class Loader {
 public:
  Loader(const std::string& mapsFolder, const std::vector<Part>& without) : maps_(mapsFolder) {
    for (const Part part : {Part::kDirect, Part::kServices, Part::kDns, Part::kOwnName}) {
      const bool isWanted = std::find(without.begin(), without.end(), part) == without.end();
      all_.parts.push_back({part, isWanted ? Status{}
                                           : Status{Code::kUnavailable,
                                                    "its hooks do not work, or it is not wanted"}});
    }
  }

  Result<NodePrograms> run() {
    loadOptional(Part::kDns, objects::dns(), all_.dns);
    loadOptional(Part::kOwnName, objects::own_name(), all_.ownName);
    abilities_ = abilities(all_.has(Part::kDns));
    // Direct connections need all three.
    if (all_.has(Part::kDirect)) {
      if (Status refused = loadDirect(); !refused.ok()) {
        lose(Part::kDirect, refused);
      }
    }
    if (!all_.has(Part::kDirect)) {
      lose(Part::kServices, {Code::kUnavailable, "there are no direct connections"});
      if (Status refused = loadWithoutDirect(); !refused.ok()) {
        return refused;
      }
    }
    return std::move(all_);
  }

 private:
  void lose(Part part, Status why) {
    Status& status = all_.parts[static_cast<size_t>(part)].status;
    if (status.ok()) {
      status = std::move(why);
    }
  }

  void loadOptional(Part part, const BpfObject& object, ObjectPtr& out) {
    if (!all_.has(part)) {
      return;
    }
    Result<ObjectPtr> loaded = load(object, maps_);
    if (loaded.ok()) {
      out = std::move(loaded).value();
    } else {
      lose(part, loaded.status());
    }
  }

  Status loadConnect(const BpfObject& object) {
    Result<ObjectPtr> loaded =
        load(object, maps_, [this](bpf_object& opened) { return setConstant(opened, abilities_); });
    if (loaded.ok()) {
      all_.connect = std::move(loaded).value();
    }
    return loaded.ok() ? Status{} : loaded.status();
  }

  /// Both others, of which each pod has an instance of the second: here it is only tried.
  Status loadOthers(const BpfObject& sockops, const BpfObject& lookup) {
    Result<ObjectPtr> loaded = load(sockops, maps_);
    if (!loaded.ok()) {
      return loaded.status();
    }
    if (Result<ObjectPtr> tried = load(lookup, maps_); !tried.ok()) {
      return tried.status();
    }
    all_.sockops = std::move(loaded).value();
    all_.lookup = lookup;
    return {};
  }

  Status loadDirect() {
    if (all_.has(Part::kServices)) {
      const Status refused = loadConnect(objects::connect());
      if (refused.ok()) {
        return loadOthers(objects::sockops(), objects::lookup());
      }
      lose(Part::kServices, refused);
    }
    const Status refused = loadConnect(objects::connect_without_services());
    return refused.ok() ? loadOthers(objects::sockops(), objects::lookup()) : refused;
  }

  Status loadWithoutDirect() {
    const Status refused = loadConnect(objects::connect_without_direct());
    return refused.ok()
               ? loadOthers(objects::sockops_without_direct(), objects::lookup_without_direct())
               : refused;
  }

  const std::string& maps_;
  weft_abilities abilities_{};
  NodePrograms all_;
};

}  // namespace

bool NodePrograms::has(Part part) const {
  return parts[static_cast<size_t>(part)].status.ok();
}

void NodePrograms::drop() {
  for (ObjectPtr* object : {&connect, &sockops, &dns, &ownName}) {
    object->reset();
  }
}

Result<NodePrograms> loadNodePrograms(const std::string& mapsFolder,
                                      const std::vector<Part>& without) {
  return Loader(mapsFolder, without).run();
}

Result<ObjectPtr> loadLookup(const BpfObject& lookup, const std::string& mapsFolder, uint64_t pod) {
  return load(lookup, mapsFolder, [&](bpf_object& opened) { return setConstant(opened, pod); });
}

}  // namespace weft::kernel
