/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of bpf/probe, byte by byte; probe_objects.h has their names. */
#define OBJECT(name)                     \
  .global weft_probe_##name;             \
  .global weft_probe_##name##_end;       \
  .hidden weft_probe_##name;             \
  .hidden weft_probe_##name##_end;       \
  .balign 16;                            \
  weft_probe_##name: .incbin FILE(name); \
  weft_probe_##name##_end:
#define TEXT(text) #text
#define FILE(name) TEXT(probe_##name.bpf.o)

.section .rodata, "a"
OBJECT(connect)
OBJECT(names)
OBJECT(datagrams)
OBJECT(link)
OBJECT(sockops)
OBJECT(release)
OBJECT(netns_cookie)
OBJECT(retval)
OBJECT(ringbuf)
OBJECT(sk_lookup)
OBJECT(sk_msg)
OBJECT(iter_tcp)
OBJECT(iter_sockmap)
.section .note.GNU-stack, "", %progbits
