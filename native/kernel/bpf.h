// SPDX-License-Identifier: Apache-2.0
// libbpf with our errors and our owners.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/ip.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "kernel/objects.h"
#include "mesh_abi.h"

namespace weft::kernel {

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
/// An object that is open or loaded. Programs that are attached by pinned links outlive it.
using ObjectPtr = std::unique_ptr<bpf_object, CloseObject>;

/// A kInternal status: "what: strerror(error)", with the last that libbpf said on this thread.
/// `error` may be negative.
Status bpfError(const std::string& what, int error);

/// Opens `object`, lets `prepare` change it, and loads it; maps that are pinned by name stand in
/// `mapsFolder`, and are shared with what stands there already. kInternal with the verifier's last
/// words when this kernel refuses it.
Result<ObjectPtr> load(const BpfObject& object, const std::string& mapsFolder,
                       const std::function<Status(bpf_object&)>& prepare = nullptr);

/// A pinned map, program or link. kUnavailable when there is none.
Result<UniqueFd> openPinned(const std::string& path);

/// A table for one pod, like all others of the map of tables `outer`, with WEFT_ENTRIES_MAX places
/// for tuples. One that is there stays.
Status addTable(int outer, uint64_t cookie, uint32_t valueBytes);

/// The map weft_counters, by name, summed over the processors.
std::map<std::string, uint64_t> readCounters(int map);

inline weft_ip toAbi(const Ip& ip) {
  weft_ip out{};
  static_assert(sizeof out == sizeof ip.bytes);
  std::memcpy(&out, ip.bytes.data(), sizeof out);
  return out;
}

inline Ip fromAbi(const weft_ip& ip) {
  Ip out;
  std::memcpy(out.bytes.data(), &ip, sizeof ip);
  return out;
}

}  // namespace weft::kernel
