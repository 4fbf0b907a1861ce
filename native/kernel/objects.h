// SPDX-License-Identifier: Apache-2.0
// The objects that are loaded one by one: one that a kernel refuses takes down nothing else. What
// stands in the midst of a program and can be done without has objects with it and without it.
#pragma once

#include <cstddef>
#include <span>

#define WEFT_OBJECTS(X)       \
  X(connect)                  \
  X(connect_without_services) \
  X(connect_without_direct)   \
  X(sockops)                  \
  X(sockops_without_direct)   \
  X(lookup)                   \
  X(lookup_without_direct)    \
  X(dns)                      \
  X(own_name)                 \
  X(carry)                    \
  X(sockmap)

// objects.S has the bytes.
extern "C" {
#define WEFT_OBJECT_BYTES(name)             \
  extern const std::byte weft_bpf_##name[]; \
  extern const std::byte weft_bpf_##name##_end[];
WEFT_OBJECTS(WEFT_OBJECT_BYTES)
#undef WEFT_OBJECT_BYTES
}

namespace weft::kernel {

/// One linked BPF object, as an ELF file in memory.
struct BpfObject {
  const char* name = nullptr;
  std::span<const std::byte> elf;
};

/// By the names of their sources in bpf/: `connect` is what applications open, `sockops` publishes
/// tuples, `lookup` is what arrives in one pod; `dns` is datagrams, `own_name` what getsockname()
/// says; `carry` brings listeners from one map into another, and `sockmap` leads past TCP between
/// two pods that ask for it.
namespace objects {
#define WEFT_OBJECT(name)                                             \
  inline BpfObject name() {                                           \
    return {"weft_" #name, {weft_bpf_##name, weft_bpf_##name##_end}}; \
  }
WEFT_OBJECTS(WEFT_OBJECT)
#undef WEFT_OBJECT
}  // namespace objects

}  // namespace weft::kernel
