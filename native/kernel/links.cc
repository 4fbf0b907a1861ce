// SPDX-License-Identifier: Apache-2.0
#include "kernel/links.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <cerrno>

#include "kernel/bpf.h"

namespace weft::kernel {

uint64_t targetOf(int link) {
  bpf_link_info info{};
  uint32_t size = sizeof info;
  if (bpf_link_get_info_by_fd(link, &info, &size) != 0) {
    return 0;
  }
  return info.type == BPF_LINK_TYPE_NETNS ? info.netns.netns_ino : info.cgroup.cgroup_id;
}

void dropLink(const std::string& path) {
  if (Result<UniqueFd> link = openPinned(path); link.ok()) {
    bpf_link_detach(link.value().get());
  }
  ::unlink(path.c_str());
}

Status adopt(const std::string& path, const std::string& elsewhere, uint64_t target) {
  const Result<UniqueFd> link = openPinned(elsewhere);
  if (!link.ok() || openPinned(path).ok()) {
    return {};
  }
  if (targetOf(link.value().get()) != target) {
    dropLink(elsewhere);
    return {};
  }
  return bpf_obj_pin(link.value().get(), path.c_str()) == 0 ? Status{}
                                                            : bpfError("pin " + path, errno);
}

Status pinAttached(const bpf_program& program, const std::string& path, uint64_t target,
                   const std::function<bpf_link*()>& attachNew) {
  if (Result<UniqueFd> link = openPinned(path); link.ok()) {
    if (targetOf(link.value().get()) == target) {
      const int error = bpf_link_update(link.value().get(), bpf_program__fd(&program), nullptr);
      return error == 0 ? Status{} : bpfError("replace " + path, error);
    }
    dropLink(path);
  }
  const LinkPtr link(attachNew());
  if (link == nullptr) {
    return bpfError(std::string("attach ") + bpf_program__name(&program), errno);
  }
  const int error = bpf_link__pin(link.get(), path.c_str());
  return error == 0 ? Status{} : bpfError("pin " + path, error);
}

}  // namespace weft::kernel
