/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* DNS by datagrams of sockets that are not connected: it goes to the node's resolver in the pod,
 * and its answers seem to come from whom the application asked. Attached where connect.bpf.c is,
 * which leads connected sockets there when this object is loaded. An object of its own, since
 * capture of connections does without.
 *
 * Fail directions. Not a pod's: passes. The kernel has no room to remember whom it asked, or the
 * socket is bound to a device: refused. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "mesh_capture.h"

char LICENSE[] SEC("license") = "GPL";

/* Questions of sockets that are not connected. */
static __always_inline int on_sendmsg(struct bpf_sock_addr* ctx, int family) {
  if (bpf_ntohs(ctx->user_port) != DNS_PORT || ctx->protocol != IPPROTO_UDP)
    return GO_ON;
  const __u32 zero = 0;
  const struct weft_config* config = bpf_map_lookup_elem(&weft_config, &zero);
  const __u64 netns = bpf_get_netns_cookie(ctx);
  if (!config || !bpf_map_lookup_elem(&weft_pods, &netns))
    return GO_ON;
  if (is_under(config->proxy_cgroup, config->proxy_level))
    return GO_ON;
  struct weft_ip ip;
  destination_of(ctx, family, &ip);
  const struct weft_address* owner = bpf_map_lookup_elem(&weft_addresses, &ip);
  if (weft_ip_is_loopback(&ip) || weft_ip_is_any(&ip) || (owner && owner->netns == netns))
    return GO_ON;
  return capture(ctx, config, family, &ip, DNS_PORT, netns, NULL);
}

SEC("cgroup/sendmsg4")
int weft_sendmsg4(struct bpf_sock_addr* ctx) {
  return on_sendmsg(ctx, 4);
}

SEC("cgroup/sendmsg6")
int weft_sendmsg6(struct bpf_sock_addr* ctx) {
  return on_sendmsg(ctx, 6);
}

/* And their answers, which come from whom they asked. */
static __always_inline int on_recvmsg(struct bpf_sock_addr* ctx, int family) {
  if (bpf_ntohs(ctx->user_port) != DNS_CAPTURE_PORT)
    return GO_ON;
  const struct weft_socket* socket = captured(ctx);
  struct weft_ip from;
  destination_of(ctx, family, &from);
  if (socket && socket->kind == WEFT_SOCKET_DNS && weft_ip_is_loopback(&from))
    set_address(ctx, family, &socket->ip, socket->port);
  return GO_ON;
}

SEC("cgroup/recvmsg4")
int weft_recvmsg4(struct bpf_sock_addr* ctx) {
  return on_recvmsg(ctx, 4);
}

SEC("cgroup/recvmsg6")
int weft_recvmsg6(struct bpf_sock_addr* ctx) {
  return on_recvmsg(ctx, 6);
}
