/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a program that sees what a socket in a map sends. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} sockets SEC(".maps");

SEC("sk_msg")
int try_sk_msg(struct sk_msg_md* ctx) {
  weft_seen.runs += ctx != 0;
  return SK_PASS;
}
