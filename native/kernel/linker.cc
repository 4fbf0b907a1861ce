// SPDX-License-Identifier: Apache-2.0
// Stands apart from the rest of the kernel's folder: the addon round it is built first, and what it
// links is part of the core.
#include "kernel/linker.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace weft::kernel {
namespace {

std::string said;

int listen(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_WARN) {
    char line[512];
    std::vsnprintf(line, sizeof line, format, arguments);
    said += line;
  }
  return 0;
}

Status failure(const std::string& what, int error) {
  return {Code::kInvalid, what + ": " + std::strerror(-error) + " " + std::exchange(said, {})};
}

}  // namespace

Status linkObjects(const std::string& out, std::span<const std::string> inputs) {
  libbpf_set_print(listen);
  bpf_linker* linker = bpf_linker__new(out.c_str(), nullptr);
  if (linker == nullptr) {
    return failure(out, -errno);
  }
  Status status;
  for (const std::string& input : inputs) {
    const int error = bpf_linker__add_file(linker, input.c_str(), nullptr);
    if (error != 0 && status.ok()) {
      status = failure(input, error);
    }
  }
  if (status.ok()) {
    if (const int error = bpf_linker__finalize(linker); error != 0) {
      status = failure(out, error);
    }
  }
  bpf_linker__free(linker);
  return status;
}

}  // namespace weft::kernel
