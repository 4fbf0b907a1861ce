/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs that try one thing each share with the process that loads them. Nothing of it
 * outlives that process. */
#ifndef WEFT_PROBE_ABI_H
#define WEFT_PROBE_ABI_H

#include <linux/types.h>

/* Set before a program is loaded: where it sends connections, in its own family. The address is the
 * loopback's for rewrites, and one that nobody has for names. */
struct weft_probe_plan {
  __u32 ip[4]; /* of the network's order; IPv4 has the first alone */
  __u32 port;
};

/* What a program saw when it ran last, and how often it did. */
struct weft_probe_seen {
  __u64 runs;
  __u64 netns;
  __u32 local_port;
  __u32 is_early; /* no segment had left yet */
};

#endif
