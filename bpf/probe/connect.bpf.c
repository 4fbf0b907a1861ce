/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a connection is led elsewhere. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/connect4")
int try_connect4(struct bpf_sock_addr* ctx) {
  rewrite4(ctx);
  return 1;
}

SEC("cgroup/connect6")
int try_connect6(struct bpf_sock_addr* ctx) {
  rewrite6(ctx);
  return 1;
}
