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
OBJECT(sockops, "sockops.bpf.o")
OBJECT(lookup, "lookup.bpf.o")
OBJECT(carry, "carry.bpf.o")
OBJECT(sockmap, "sockmap.bpf.o")
.section .note.GNU-stack, "", %progbits
