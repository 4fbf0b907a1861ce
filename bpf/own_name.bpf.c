/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From where an application is connected, when it is captured: the pod's address, at the port that
 * the socket has, and not the loopback. Attached where connect.bpf.c is; an object of its own,
 * since capture does without.
 *
 * Fail direction: the name stays as it is. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "mesh_names.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline int on_getsockname(struct bpf_sock_addr* ctx, int family) {
  const struct weft_socket* socket = captured(ctx);
  if (!socket)
    return GO_ON;
  struct weft_ip now;
  destination_of(ctx, family, &now);
  if (!weft_ip_is_loopback(&now))
    return GO_ON;
  const __u64 netns = bpf_get_netns_cookie(ctx);
  const struct weft_pod* pod = bpf_map_lookup_elem(&weft_pods, &netns);
  if (!pod)
    return GO_ON;
  const struct weft_ip* own = socket->is_v4 ? &pod->ipv4 : &pod->ipv6;
  if (own->words[0] || own->words[1] || own->words[2] || own->words[3])
    set_address(ctx, family, own, bpf_ntohs(ctx->user_port));
  return GO_ON;
}

SEC("cgroup/getsockname4")
int weft_getsockname4(struct bpf_sock_addr* ctx) {
  return on_getsockname(ctx, 4);
}

SEC("cgroup/getsockname6")
int weft_getsockname6(struct bpf_sock_addr* ctx) {
  return on_getsockname(ctx, 6);
}
