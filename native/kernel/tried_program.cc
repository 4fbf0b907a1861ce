// SPDX-License-Identifier: Apache-2.0
#include "kernel/tried_program.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/unique_fd.h"

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

Status TriedProgram::iterate(const char* map) {
  bpf_iter_link_info over{};
  bpf_iter_attach_opts options{};
  options.sz = sizeof options;
  if (map != nullptr) {
    over.map.map_fd = static_cast<uint32_t>(this->map(map));
    options.link_info = &over;
    options.link_info_len = sizeof over;
  }
  if (Status status = keep(bpf_program__attach_iter(program_, &options)); !status.ok()) {
    return status;
  }
  const UniqueFd run(bpf_iter_create(link()));
  if (!run) {
    return bpfError("run an iterator", errno);
  }
  std::array<char, 256> nothing{};
  while (::read(run.get(), nothing.data(), nothing.size()) > 0) {
  }
  return {};
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
