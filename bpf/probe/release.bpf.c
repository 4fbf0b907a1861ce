/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a program hears that a socket is closed, and may remember something in it. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u32);
} kept SEC(".maps");

SEC("cgroup/sock_release")
int try_sock_release(struct bpf_sock* sk) {
  if (bpf_sk_storage_get(&kept, sk, 0, BPF_SK_STORAGE_GET_F_CREATE))
    weft_seen.runs++;
  return 1;
}
