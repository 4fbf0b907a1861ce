/* SPDX-License-Identifier: Apache-2.0 */
/* The linked BPF objects, byte by byte; objects.h has their names. */
#define OBJECT(name, file)          \
  .global weft_bpf_##name;          \
  .global weft_bpf_##name##_end;    \
  .hidden weft_bpf_##name;          \
  .hidden weft_bpf_##name##_end;    \
  .balign 16;                       \
  weft_bpf_##name: .incbin file;    \
  weft_bpf_##name##_end:

.section .rodata, "a"
OBJECT(connect, "connect.bpf.o")
OBJECT(connect_without_services, "connect_without_services.bpf.o")
OBJECT(connect_without_direct, "connect_without_direct.bpf.o")
OBJECT(sockops, "sockops.bpf.o")
OBJECT(sockops_without_direct, "sockops_without_direct.bpf.o")
OBJECT(lookup, "lookup.bpf.o")
OBJECT(lookup_without_direct, "lookup_without_direct.bpf.o")
OBJECT(dns, "dns.bpf.o")
OBJECT(own_name, "own_name.bpf.o")
OBJECT(carry, "carry.bpf.o")
OBJECT(sockmap, "sockmap.bpf.o")
.section .note.GNU-stack, "", %progbits
