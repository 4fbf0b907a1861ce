/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a program that is shown all TCP sockets of a network namespace. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

struct sock_common;

/* The kernel's own, as far as it is looked at. */
struct bpf_iter__tcp {
  struct sock_common* sk_common;
} __attribute__((preserve_access_index));

SEC("iter/tcp")
int try_iter_tcp(struct bpf_iter__tcp* ctx) {
  if (ctx->sk_common)
    weft_seen.runs++;
  return 0;
}
