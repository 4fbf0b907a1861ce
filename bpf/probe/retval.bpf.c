/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tried: a connection is refused with an error of the program's choice. */
#include "probe_plan.h"

char LICENSE[] SEC("license") = "GPL";

#define ECONNREFUSED 111

SEC("cgroup/connect4")
int try_retval(struct bpf_sock_addr* ctx) {
  weft_seen.runs += ctx != 0;
  bpf_set_retval(-ECONNREFUSED);
  return 0;
}
