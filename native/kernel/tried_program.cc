// SPDX-License-Identifier: Apache-2.0
#include "kernel/tried_program.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace weft::kernel {
namespace {

constexpr size_t kV4At = 12;

weft_probe_plan planOf(const Endpoint& to) {
  weft_probe_plan plan{};
  const size_t from = to.ip.isV4() ? kV4At : 0;
  std::memcpy(plan.ip, to.ip.bytes.data() + from, to.ip.bytes.size() - from);
  plan.port = to.port;
  return plan;
}

bpf_map* mapEndingIn(bpf_object& object, const char* end) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, &object) {
    if (std::string(bpf_map__name(map)).ends_with(end)) {
      return map;
    }
  }
  return nullptr;
}

Status choose(bpf_object& object, const char* name, const Endpoint& to) {
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, &object) {
    bpf_program__set_autoload(each, std::strcmp(bpf_program__name(each), name) == 0);
  }
  const weft_probe_plan plan = planOf(to);
  size_t size = 0;
  void* value = bpf_map__initial_value(mapEndingIn(object, ".rodata"), &size);
  if (value == nullptr || size < sizeof plan) {
    return {Code::kInternal, "the object has no plan"};
  }
  std::memcpy(value, &plan, sizeof plan);
  return {};
}

}  // namespace

Result<TriedProgram> TriedProgram::load(const BpfObject& object, const char* name,
                                        const Endpoint& plan) {
  Result<ObjectPtr> loaded =
      kernel::load(object, "", [&](bpf_object& opened) { return choose(opened, name, plan); });
  if (!loaded.ok()) {
    return loaded.status();
  }
  bpf_program* program = bpf_object__find_program_by_name(loaded.value().get(), name);
  if (program == nullptr) {
    return Status{Code::kInternal, std::string("no program ") + name};
  }
  return TriedProgram(std::move(loaded).value(), program);
}

Status TriedProgram::keep(bpf_link* link) {
  if (link == nullptr) {
    return bpfError(std::string("attach ") + bpf_program__name(program_), errno);
  }
  link_.reset(link);
  return {};
}

Status TriedProgram::attachToCgroup(int cgroup) {
  return keep(bpf_program__attach_cgroup(program_, cgroup));
}

Status TriedProgram::attachToNetns(int netns) {
  return keep(bpf_program__attach_netns(program_, netns));
}

Status TriedProgram::attachIterator() {
  return keep(bpf_program__attach_iter(program_, nullptr));
}

weft_probe_seen TriedProgram::seen() const {
  weft_probe_seen seen{};
  const uint32_t zero = 0;
  const bpf_map* map = mapEndingIn(*object_, ".bss");
  if (map == nullptr || bpf_map_lookup_elem(bpf_map__fd(map), &zero, &seen) != 0) {
    return {};
  }
  return seen;
}

int TriedProgram::map(const char* name) const {
  return bpf_object__find_map_fd_by_name(object_.get(), name);
}

}  // namespace weft::kernel
