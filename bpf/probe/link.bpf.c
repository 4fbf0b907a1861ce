/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: links, which keep a program attached, to a cgroup and to a network namespace. Neither
 * program does anything. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/connect4")
int try_link_cgroup(struct bpf_sock_addr* ctx) {
  return ctx != 0;
}

SEC("sk_lookup")
int try_link_netns(struct bpf_sk_lookup* ctx) {
  return ctx ? SK_PASS : SK_DROP;
}
