/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps that programs share. Keys and values are told by their size, since an object need not
 * know the types that it does not use. Each is pinned by its name: whichever object is loaded first
 * makes them, and the others find them there. All are plain hashes, since a table that evicts would
 * let one pod push out another's entries. */
#ifndef WEFT_MESH_MAPS_H
#define WEFT_MESH_MAPS_H

#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>

#include "mesh_abi.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __uint(value_size, sizeof(struct weft_config));
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_config SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_PODS_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __uint(value_size, sizeof(struct weft_pod));
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_pods SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_ADDRESSES_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct weft_ip));
  __uint(value_size, sizeof(struct weft_address));
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_addresses SEC(".maps");

/* A table for each pod, so that one pod's entries never take another's room. */
struct weft_origins_of_pod {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_ENTRIES_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct weft_tuple));
  __uint(value_size, sizeof(struct weft_origin));
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, WEFT_PODS_MAX);
  __type(key, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __array(values, struct weft_origins_of_pod);
} weft_origins SEC(".maps");

struct weft_passes_of_pod {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_ENTRIES_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct weft_tuple));
  __uint(value_size, sizeof(struct weft_pass));
};

/* Connections into a pod that are not captured, by the namespace that they arrive in. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, WEFT_PODS_MAX);
  __type(key, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __array(values, struct weft_passes_of_pod);
} weft_passes SEC(".maps");

struct weft_verdicts_of_pod {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_ENTRIES_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct weft_verdict_key));
  __uint(value_size, sizeof(struct weft_verdict));
};

/* By the destination. A table is filled before it is put here, and replaced whole. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, WEFT_PODS_MAX);
  __type(key, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __array(values, struct weft_verdicts_of_pod);
} weft_verdicts SEC(".maps");

/* Addresses of services that an endpoint is picked for here. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_SERVICES_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct weft_service_key));
  __uint(value_size, sizeof(struct weft_service));
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_services SEC(".maps");

/* The places of all their tables. One is complete before its service leads to it, and is taken away
 * after that leads elsewhere. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_PICKS_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct weft_pick_key));
  __uint(value_size, sizeof(struct weft_pick));
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_picks SEC(".maps");

struct weft_directs_of_pod {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_ENTRIES_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct weft_tuple));
  __uint(value_size, sizeof(struct weft_direct));
};

/* By the source. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, WEFT_PODS_MAX);
  __type(key, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __array(values, struct weft_directs_of_pod);
} weft_directs SEC(".maps");

/* By the number that a pod has; 0 is nobody's. A number that another pod had before counts that
 * one's connections, too, until they end. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, WEFT_PODS_MAX + 1);
  __type(key, __u32);
  __uint(value_size, sizeof(struct weft_slots));
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_slots SEC(".maps");

/* Direct connections whose data may go past TCP, by their tuple. One that finds no room here stays
 * with TCP. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WEFT_PAIRS_MAX);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct weft_tuple));
  __uint(value_size, sizeof(struct weft_pair));
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_pairs SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __uint(value_size, sizeof(struct weft_sockmap));
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_sockmap SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 20);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_events SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, WEFT_LISTENERS_MAX);
  __uint(key_size, sizeof(struct weft_listener_key));
  __type(value, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_listeners SEC(".maps");

/* When the proxy last said that it lives, in monotonic nanoseconds. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_heartbeat SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, WEFT_COUNTER_MAX);
  __type(key, __u32);
  __type(value, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_counters SEC(".maps");

/* One field of the context, read by itself: clang would otherwise join two reads, or compute the
 * address of one, and verifiers refuse both. */
#define WEFT_READ(field)                            \
  ({                                                \
    __u32 value = *(const volatile __u32*)&(field); \
    asm volatile("" : "+r"(value));                 \
    value;                                          \
  })

static __always_inline void weft_add(__u32 counter, __u64 amount) {
  __u64* value = bpf_map_lookup_elem(&weft_counters, &counter);
  if (value)
    *value += amount;
}

static __always_inline void weft_count(__u32 counter) {
  weft_add(counter, 1);
}

/* What policy says of connections from one pod to another: a weft_action, or 0 for the proxy to
 * say. */
static __always_inline __u32 weft_verdict_of(__u64 destination, __u64 source, __u32 port) {
  void* verdicts = bpf_map_lookup_elem(&weft_verdicts, &destination);
  if (!verdicts)
    return 0;
  struct weft_verdict_key key = {};
  key.source = source;
  key.port = port;
  const struct weft_verdict* verdict = bpf_map_lookup_elem(verdicts, &key);
  if (!verdict) {
    key.port = 0;
    verdict = bpf_map_lookup_elem(verdicts, &key);
  }
  if (!verdict)
    return 0;
  if (bpf_ktime_get_ns() > verdict->expires_ns) {
    weft_count(WEFT_COUNT_DIRECT_EXPIRED);
    return 0;
  }
  return verdict->action;
}

#endif
