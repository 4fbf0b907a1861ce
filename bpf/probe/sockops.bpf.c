/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a program hears of a connection when its port is chosen and its SYN has not left. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

SEC("sockops")
int try_sockops(struct bpf_sock_ops* ctx) {
  if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB)
    return 1;
  weft_seen.runs++;
  weft_seen.local_port = ctx->local_port;
  weft_seen.is_early = ctx->segs_out == 0;
  return 1;
}
