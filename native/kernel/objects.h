// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

// objects.S has the bytes.
extern "C" {
extern const std::byte weft_bpf_connect[];
extern const std::byte weft_bpf_connect_end[];
extern const std::byte weft_bpf_sockops[];
extern const std::byte weft_bpf_sockops_end[];
extern const std::byte weft_bpf_lookup[];
extern const std::byte weft_bpf_lookup_end[];
extern const std::byte weft_bpf_carry[];
extern const std::byte weft_bpf_carry_end[];
extern const std::byte weft_bpf_sockmap[];
extern const std::byte weft_bpf_sockmap_end[];
}

namespace weft::kernel {

/// One linked BPF object, as an ELF file in memory.
struct BpfObject {
  const char* name;
  std::span<const std::byte> elf;
};

/// What applications open: connect, their names, DNS. Each object stands alone, so that one that a
/// kernel refuses takes down nothing else.
inline BpfObject connectObject() {
  return {"weft_connect", {weft_bpf_connect, weft_bpf_connect_end}};
}
/// Publishes tuples.
inline BpfObject sockopsObject() {
  return {"weft_sockops", {weft_bpf_sockops, weft_bpf_sockops_end}};
}
/// What arrives in one pod.
inline BpfObject lookupObject() {
  return {"weft_lookup", {weft_bpf_lookup, weft_bpf_lookup_end}};
}

/// Listeners from one map into another.
inline BpfObject carryObject() {
  return {"weft_carry", {weft_bpf_carry, weft_bpf_carry_end}};
}

/// Past TCP between two pods that ask for it.
inline BpfObject sockmapObject() {
  return {"weft_sockmap", {weft_bpf_sockmap, weft_bpf_sockmap_end}};
}

}  // namespace weft::kernel
