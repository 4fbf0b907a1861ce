/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a program gives a connection that arrives to the listener in a map. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} listeners SEC(".maps");

SEC("sk_lookup")
int try_sk_lookup(struct bpf_sk_lookup* ctx) {
  const __u32 zero = 0;
  weft_seen.runs++;
  if (ctx->local_port != weft_plan.port)
    return SK_PASS;
  struct bpf_sock* listener = bpf_map_lookup_elem(&listeners, &zero);
  if (!listener)
    return SK_PASS;
  bpf_sk_assign(ctx, listener, 0);
  bpf_sk_release(listener);
  return SK_PASS;
}
