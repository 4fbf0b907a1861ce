/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a program that is shown the sockets in a map. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

struct sock;

/* The kernel's own, of which an iterator is told by position. */
struct bpf_iter__sockmap {
  __u64 meta;
  __u64 map;
  void* key;
  struct sock* sk;
};

struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} listeners SEC(".maps");

SEC("iter/sockmap")
int try_iter_sockmap(struct bpf_iter__sockmap* ctx) {
  if (ctx->key && ctx->sk)
    weft_seen.runs++;
  return 0;
}
