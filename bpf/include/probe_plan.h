/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The two ends of a program that is tried: what it is told, and what it tells. */
#ifndef WEFT_PROBE_PLAN_H
#define WEFT_PROBE_PLAN_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "probe_abi.h"

const volatile struct weft_probe_plan weft_plan = {};
struct weft_probe_seen weft_seen = {};

static __always_inline void rewrite4(struct bpf_sock_addr* ctx) {
  weft_seen.runs++;
  ctx->user_ip4 = weft_plan.ip[0];
  ctx->user_port = bpf_htons((__u16)weft_plan.port);
}

static __always_inline void rewrite6(struct bpf_sock_addr* ctx) {
  weft_seen.runs++;
  ctx->user_ip6[0] = weft_plan.ip[0];
  ctx->user_ip6[1] = weft_plan.ip[1];
  ctx->user_ip6[2] = weft_plan.ip[2];
  ctx->user_ip6[3] = weft_plan.ip[3];
  ctx->user_port = bpf_htons((__u16)weft_plan.port);
}

#endif
