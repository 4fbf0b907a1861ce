/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a program tells something by a ring buffer. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 16);
} ring SEC(".maps");

SEC("cgroup/connect4")
int try_ringbuf(struct bpf_sock_addr* ctx) {
  weft_seen.runs += ctx != 0;
  __u64* said = bpf_ringbuf_reserve(&ring, sizeof *said, 0);
  if (said) {
    *said = weft_plan.port;
    bpf_ringbuf_submit(said, 0);
  }
  return 1;
}
