/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a datagram is led elsewhere, and its answer seems to come from where it was meant to go.
 */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/sendmsg4")
int try_sendmsg4(struct bpf_sock_addr* ctx) {
  rewrite4(ctx);
  return 1;
}

SEC("cgroup/sendmsg6")
int try_sendmsg6(struct bpf_sock_addr* ctx) {
  rewrite6(ctx);
  return 1;
}

SEC("cgroup/recvmsg4")
int try_recvmsg4(struct bpf_sock_addr* ctx) {
  rewrite4(ctx);
  return 1;
}

SEC("cgroup/recvmsg6")
int try_recvmsg6(struct bpf_sock_addr* ctx) {
  rewrite6(ctx);
  return 1;
}
