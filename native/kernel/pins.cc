// SPDX-License-Identifier: Apache-2.0
#include "kernel/pins.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include "mesh_abi.h"

namespace weft::kernel {
namespace {

constexpr long kBpfFsMagic = 0xcafe4a11;
constexpr mode_t kPrivate = 0700;

bool isBpfFs(const std::string& folder) {
  struct statfs found {};
  return ::statfs(folder.c_str(), &found) == 0 && static_cast<long>(found.f_type) == kBpfFsMagic;
}

/// No dot: the BPF file system keeps those for itself.
constexpr std::string_view kDraft = "_new";

/// The number of the layout that a folder's name is of, whether ready or not; 0: of none of ours.
unsigned layoutOf(std::string_view name) {
  if (name.ends_with(kDraft)) {
    name.remove_suffix(kDraft.size());
  }
  if (name.size() < 2 || name[0] != 'v') {
    return 0;
  }
  unsigned layout = 0;
  const auto [end, bad] = std::from_chars(name.data() + 1, name.data() + name.size(), layout);
  return bad == std::errc{} && end == name.data() + name.size() ? layout : 0;
}

/// The folder is there, and is a mount of its own.
bool isMountPoint(const std::string& folder) {
  struct stat own {};
  struct stat above {};
  return ::stat(folder.c_str(), &own) == 0 && ::stat((folder + "/..").c_str(), &above) == 0 &&
         own.st_dev != above.st_dev;
}

}  // namespace

Pins::Pins(const std::string& folder) : Pins(folder, folder + "/v" + std::to_string(WEFT_ABI)) {}

Pins::Pins(std::string root, std::string version)
    : root_(std::move(root)),
      version_(std::move(version)),
      maps_(version_ + "/maps"),
      links_(version_ + "/links"),
      pods_(version_ + "/pods") {}

std::string Pins::pod(uint64_t netns) const {
  return pods_ + "/" + std::to_string(netns);
}

Pins Pins::draft() const {
  return {root_, version_ + std::string(kDraft)};
}

std::vector<Pins> Pins::others() const {
  std::map<unsigned, Pins, std::greater<>> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
    const std::string name = entry.path().filename().string();
    const unsigned layout = name.ends_with(kDraft) ? 0 : layoutOf(name);
    if (layout != 0 && entry.path() != version_) {
      found.emplace(layout, Pins(root_, entry.path().string()));
    }
  }
  std::vector<Pins> all;
  for (const auto& [layout, pins] : found) {
    all.push_back(pins);
  }
  return all;
}

bool Pins::exists() const {
  struct stat own {};
  return ::stat(version_.c_str(), &own) == 0;
}

Status Pins::accept(const Pins& draft) const {
  return ::rename(draft.version_.c_str(), version_.c_str()) == 0
             ? Status{}
             : Status::fromErrno(("rename " + draft.version_).c_str(), errno);
}

void Pins::drop() const {
  std::error_code error;
  std::filesystem::remove_all(version_, error);
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
    if (layoutOf(entry.path().filename().string()) != 0) {
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
