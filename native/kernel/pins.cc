// SPDX-License-Identifier: Apache-2.0
#include "kernel/pins.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "mesh_abi.h"

namespace weft::kernel {
namespace {

constexpr long kBpfFsMagic = 0xcafe4a11;
constexpr mode_t kPrivate = 0700;

bool isBpfFs(const std::string& folder) {
  struct statfs found {};
  return ::statfs(folder.c_str(), &found) == 0 && static_cast<long>(found.f_type) == kBpfFsMagic;
}

/// Whether a folder is one of ours, of this layout or another.
bool isVersion(const std::string& name) {
  return name.size() > 1 && name[0] == 'v' &&
         name.find_first_not_of("0123456789", 1) == std::string::npos;
}

/// The folder is there, and is a mount of its own.
bool isMountPoint(const std::string& folder) {
  struct stat own {};
  struct stat above {};
  return ::stat(folder.c_str(), &own) == 0 && ::stat((folder + "/..").c_str(), &above) == 0 &&
         own.st_dev != above.st_dev;
}

}  // namespace

Pins::Pins(const std::string& folder)
    : root_(folder),
      version_(folder + "/v" + std::to_string(WEFT_ABI)),
      maps_(version_ + "/maps"),
      links_(version_ + "/links"),
      pods_(version_ + "/pods") {}

std::string Pins::pod(uint64_t netns) const {
  return pods_ + "/" + std::to_string(netns);
}

Status Pins::make() const {
  std::error_code error;
  std::filesystem::create_directories(root_, error);
  if (error) {
    return {Code::kInternal, root_ + ": " + error.message()};
  }
  if (!isBpfFs(root_) && ::mount("bpf", root_.c_str(), "bpf", 0, "mode=0700") != 0) {
    return Status::fromErrno(("mount a BPF file system on " + root_).c_str(), errno);
  }
  for (const std::string& folder : {version_, maps_, links_, pods_}) {
    if (::mkdir(folder.c_str(), kPrivate) != 0 && errno != EEXIST) {
      return Status::fromErrno(("mkdir " + folder).c_str(), errno);
    }
  }
  return {};
}

Status Pins::remove() const {
  if (!isBpfFs(root_)) {
    return {};
  }
  const bool mounted = isMountPoint(root_);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
    if (isVersion(entry.path().filename().string())) {
      std::filesystem::remove_all(entry.path(), error);
    }
  }
  if (error) {
    return {Code::kInternal, root_ + ": " + error.message()};
  }
  if (mounted && ::umount(root_.c_str()) != 0) {
    return Status::fromErrno(("unmount " + root_).c_str(), errno);
  }
  std::filesystem::remove(root_, error);
  return {};
}

}  // namespace weft::kernel
