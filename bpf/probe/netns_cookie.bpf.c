/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a program learns in which network namespace it runs, by the number that a socket there is
 * told. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/connect4")
int try_cookie_connect(struct bpf_sock_addr* ctx) {
  weft_seen.runs++;
  weft_seen.netns = bpf_get_netns_cookie(ctx);
  return 1;
}

SEC("sockops")
int try_cookie_sockops(struct bpf_sock_ops* ctx) {
  if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB)
    return 1;
  weft_seen.runs++;
  weft_seen.netns = bpf_get_netns_cookie(ctx);
  return 1;
}
