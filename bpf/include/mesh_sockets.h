/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What connect() decided, kept in the socket until its SYN leaves, and for as long as it lives. */
#ifndef WEFT_MESH_SOCKETS_H
#define WEFT_MESH_SOCKETS_H

#include <stddef.h>

#include "mesh_maps.h"

/* What a socket is on its way to, from connect() until its SYN. */
enum weft_socket_kind {
  WEFT_SOCKET_CAPTURED = 1, /* to the proxy; its origin is published */
  WEFT_SOCKET_PASS = 2,     /* into the pod with `netns`, uncaptured */
  WEFT_SOCKET_DNS = 3,      /* to the node's resolver */
  WEFT_SOCKET_DIRECT = 4,   /* to the pod with `netns`, as policy allows */
  WEFT_SOCKET_STRAY = 5,    /* the proxy's, to wherever: uncaptured if it comes back to the pod */
};

struct weft_socket {
  struct weft_ip ip;     /* where the application meant to go */
  struct weft_ip picked; /* CAPTURED: the endpoint of that service, for the proxy */
  __u32 port;
  __u32 picked_port; /* 0: none */
  __u16 kind;
  __u8 is_v4;        /* the connection's family, whatever the socket's */
  __u8 is_published; /* DIRECT: its slot goes with its entry, and no longer with the socket */
  __u32 slots;       /* DIRECT: where its slot is counted; 0: it has none */
  __u64 netns;       /* PASS, STRAY, DIRECT: of the namespace that it arrives in; else of its own */
};

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct weft_socket);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_sockets SEC(".maps");

/* Takes a slot of a pod for a direct connection; 0 when there is none left. */
static __always_inline int weft_take_slot(struct weft_socket* socket, __u32 slots) {
  struct weft_slots* all = slots ? bpf_map_lookup_elem(&weft_slots, &slots) : NULL;
  if (!all)
    return 0;
  if (__sync_fetch_and_add(&all->taken, 1) >= WEFT_DIRECTS_MAX) {
    __sync_fetch_and_add(&all->taken, -1);
    return 0;
  }
  socket->slots = slots;
  return 1;
}

/* Two may try it at once: the process that closes the socket, and the kernel that ends it. */
static __always_inline void weft_give_slot_back(struct weft_socket* socket) {
  const __u32 slots = socket->slots ? __sync_lock_test_and_set(&socket->slots, 0) : 0;
  struct weft_slots* all = slots ? bpf_map_lookup_elem(&weft_slots, &slots) : NULL;
  if (all)
    __sync_fetch_and_add(&all->taken, -1);
}

#endif
