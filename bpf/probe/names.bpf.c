/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: an application is told another peer, and another address of its own. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/getpeername4")
int try_getpeername4(struct bpf_sock_addr* ctx) {
  rewrite4(ctx);
  return 1;
}

SEC("cgroup/getpeername6")
int try_getpeername6(struct bpf_sock_addr* ctx) {
  rewrite6(ctx);
  return 1;
}

SEC("cgroup/getsockname4")
int try_getsockname4(struct bpf_sock_addr* ctx) {
  rewrite4(ctx);
  return 1;
}

SEC("cgroup/getsockname6")
int try_getsockname6(struct bpf_sock_addr* ctx) {
  rewrite6(ctx);
  return 1;
}
