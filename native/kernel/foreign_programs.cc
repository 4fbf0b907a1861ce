// SPDX-License-Identifier: Apache-2.0
#include "kernel/foreign_programs.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/unique_fd.h"
#include "kernel/bpf.h"

namespace weft::kernel {
namespace {

constexpr size_t kProgramsMax = 64;  ///< The kernel allows no more at one hook of a cgroup.
constexpr const char* kOwnPrefix = "weft_";

struct Hook {
  bpf_attach_type type;
  const char* name;
};

constexpr Hook kCgroupHooks[] = {
    {BPF_CGROUP_INET4_CONNECT, "connect4"},
    {BPF_CGROUP_INET6_CONNECT, "connect6"},
    {BPF_CGROUP_INET4_GETPEERNAME, "getpeername4"},
    {BPF_CGROUP_INET6_GETPEERNAME, "getpeername6"},
    {BPF_CGROUP_INET4_GETSOCKNAME, "getsockname4"},
    {BPF_CGROUP_INET6_GETSOCKNAME, "getsockname6"},
    {BPF_CGROUP_UDP4_SENDMSG, "sendmsg4"},
    {BPF_CGROUP_UDP6_SENDMSG, "sendmsg6"},
    {BPF_CGROUP_UDP4_RECVMSG, "recvmsg4"},
    {BPF_CGROUP_UDP6_RECVMSG, "recvmsg6"},
    {BPF_CGROUP_SOCK_OPS, "sockops"},
    {BPF_CGROUP_INET_SOCK_RELEASE, "sock_release"},
};
constexpr Hook kNetnsHook{BPF_SK_LOOKUP, "sk_lookup"};

/// Empty for one that is gone by now.
std::string nameOfProgram(uint32_t id) {
  const UniqueFd fd(bpf_prog_get_fd_by_id(id));
  bpf_prog_info info{};
  uint32_t size = sizeof info;
  return fd && bpf_prog_get_info_by_fd(fd.get(), &info, &size) == 0 ? info.name : "";
}

Status collect(int target, const Hook& hook, const std::string& place,
               std::vector<ForeignProgram>& out) {
  std::array<uint32_t, kProgramsMax> ids{};
  struct bpf_prog_query_opts options {};
  options.sz = sizeof options;
  options.prog_ids = ids.data();
  options.prog_cnt = ids.size();
  if (const int error = bpf_prog_query_opts(target, hook.type, &options); error != 0) {
    // The kernel has no such hook: nobody is there.
    return error == -EINVAL ? Status{} : bpfError(place, error);
  }
  for (size_t i = 0; i < options.prog_cnt; i++) {
    std::string name = nameOfProgram(ids[i]);
    if (!name.starts_with(kOwnPrefix)) {
      out.push_back({std::move(name), hook.name, place});
    }
  }
  return {};
}

Status collectCgroup(const std::string& folder, std::vector<ForeignProgram>& out) {
  const UniqueFd cgroup(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (!cgroup) {
    return Status::fromErrno(folder.c_str(), errno);
  }
  for (const Hook& hook : kCgroupHooks) {
    if (Status status = collect(cgroup.get(), hook, folder, out); !status.ok()) {
      return status;
    }
  }
  return {};
}

/// Where the file system of cgroups has its root, there is another device above.
bool isAbove(const std::filesystem::path& upper, const std::filesystem::path& lower) {
  struct stat one {};
  struct stat other {};
  return upper != lower && ::stat(upper.c_str(), &one) == 0 && ::stat(lower.c_str(), &other) == 0 &&
         one.st_dev == other.st_dev;
}

}  // namespace

Result<std::vector<ForeignProgram>> foreignPrograms(const std::string& folder) {
  std::vector<ForeignProgram> found;
  std::error_code error;
  std::filesystem::path path = std::filesystem::canonical(folder, error);
  if (error) {
    return Status{Code::kInvalid, folder + ": " + error.message()};
  }
  for (bool more = true; more;) {
    if (Status status = collectCgroup(path.string(), found); !status.ok()) {
      return status;
    }
    more = isAbove(path.parent_path(), path);
    path = path.parent_path();
  }
  const UniqueFd netns(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!netns) {
    return Status::fromErrno("/proc/self/ns/net", errno);
  }
  if (Status status = collect(netns.get(), kNetnsHook, "the network namespace", found);
      !status.ok()) {
    return status;
  }
  return found;
}

}  // namespace weft::kernel
