/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether the proxy lives. It says so every second, while a worker of it turns. */
#ifndef WEFT_MESH_HEARTBEAT_H
#define WEFT_MESH_HEARTBEAT_H

#include "mesh_maps.h"

/* It has stopped, or hangs. One that never said a word is an older one, which tells nothing. */
static __always_inline int weft_proxy_is_stale(void) {
  const __u32 zero = 0;
  const __u64* beat = bpf_map_lookup_elem(&weft_heartbeat, &zero);
  const __u64 last = beat ? *(const volatile __u64*)beat : 0;
  /* Another processor may have written a later time than this one read. */
  const __u64 now = bpf_ktime_get_ns();
  return last != 0 && now > last && now - last > WEFT_STALE_NS;
}

/* Whether it listens for what the pod with this network namespace opens. */
static __always_inline int weft_proxy_listens(__u64 netns) {
  struct weft_listener_key key = {};
  key.netns = netns;
  key.kind = WEFT_LISTENER_OUTBOUND;
  struct bpf_sock* listener = bpf_map_lookup_elem(&weft_listeners, &key);
  if (!listener)
    return 0;
  bpf_sk_release(listener);
  return 1;
}

#endif
