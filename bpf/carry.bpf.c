/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sockets of one map of sockets into another: no process can read them out of it, but an iterator
 * may. Run once for a change of layout, over the old map, and attached to nothing else. */
#include <linux/bpf.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

#include "mesh_abi.h"

char LICENSE[] SEC("license") = "GPL";

/* The kernel's own, of which an iterator is told by position. */
struct bpf_iter__sockmap {
  __u64 meta;
  __u64 map;
  struct weft_listener_key* key;
  struct sock* sk;
};

/* Stands for the new map, which is put in its place before this is loaded. */
struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, 1);
  __uint(key_size, sizeof(struct weft_listener_key));
  __type(value, __u64);
} weft_target SEC(".maps");

SEC("iter/sockmap")
int weft_carry(struct bpf_iter__sockmap* ctx) {
  const struct weft_listener_key* from = ctx->key;
  struct sock* sk = ctx->sk;
  if (!from || !sk)
    return 0;
  struct weft_listener_key key = *from;
  bpf_map_update_elem(&weft_target, &key, sk, BPF_ANY);
  return 0;
}
