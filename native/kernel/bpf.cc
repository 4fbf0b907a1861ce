// SPDX-License-Identifier: Apache-2.0
#include "kernel/bpf.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernel/map_shape.h"

namespace weft::kernel {
namespace {

constexpr size_t kSaidMax = 2000;
constexpr const char* kCounterNames[] = {
#define WEFT_COUNTER_NAME(name, text) text,
    WEFT_COUNTERS(WEFT_COUNTER_NAME)
#undef WEFT_COUNTER_NAME
};
thread_local std::string said;

int listen(libbpf_print_level level, const char* format, va_list arguments) {
  // What a verifier has to say stands at the end of many lines.
  char* text = nullptr;
  if (level == LIBBPF_WARN && ::vasprintf(&text, format, arguments) >= 0) {
    said += text;
    std::free(text);
    if (said.size() > kSaidMax) {
      said.erase(0, said.size() - kSaidMax);
    }
  }
  return 0;
}

/// libbpf talks to one listener for the process.
void listenOnce() {
  static const bool once = [] {
    libbpf_set_print(listen);
    return true;
  }();
  static_cast<void>(once);
}

}  // namespace

Status bpfError(const std::string& what, int error) {
  std::string text = what + ": " + std::strerror(std::abs(error));
  if (!said.empty()) {
    text += " (" + std::exchange(said, {}) + ")";
  }
  return {Code::kInternal, std::move(text)};
}

Result<ObjectPtr> load(const BpfObject& object, const std::string& mapsFolder,
                       const std::function<Status(bpf_object&)>& prepare) {
  listenOnce();
  said.clear();
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = object.name;
  options.pin_root_path = mapsFolder.c_str();
  ObjectPtr opened(bpf_object__open_mem(object.elf.data(), object.elf.size(), &options));
  if (opened == nullptr) {
    return bpfError(std::string("open ") + object.name, errno);
  }
  if (prepare != nullptr) {
    if (Status status = prepare(*opened); !status.ok()) {
      return status;
    }
  }
  if (const int error = bpf_object__load(opened.get()); error != 0) {
    return bpfError(std::string("load ") + object.name, error);
  }
  return opened;
}

Result<UniqueFd> openPinned(const std::string& path) {
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd) {
    return Status{Code::kUnavailable, path + ": " + std::strerror(errno)};
  }
  return fd;
}

Status addTable(int outer, uint64_t cookie, uint32_t valueBytes) {
  uint32_t id = 0;
  if (bpf_map_lookup_elem(outer, &cookie, &id) == 0) {
    return {};
  }
  const Result<UniqueFd> table = makeTable(
      {BPF_MAP_TYPE_HASH, sizeof(weft_tuple), valueBytes, WEFT_ENTRIES_MAX, BPF_F_NO_PREALLOC});
  if (!table.ok()) {
    return table.status();
  }
  const int fd = table.value().get();
  if (bpf_map_update_elem(outer, &cookie, &fd, BPF_ANY) != 0) {
    return bpfError("a pod's table", errno);
  }
  return {};
}

std::map<std::string, uint64_t> readCounters(int map) {
  std::map<std::string, uint64_t> all;
  std::vector<uint64_t> each(static_cast<size_t>(std::max(1, libbpf_num_possible_cpus())));
  for (uint32_t i = 0; i < WEFT_COUNTER_MAX; i++) {
    const bool found = bpf_map_lookup_elem(map, &i, each.data()) == 0;
    all[kCounterNames[i]] = found ? std::accumulate(each.begin(), each.end(), uint64_t{0}) : 0;
  }
  return all;
}

}  // namespace weft::kernel
