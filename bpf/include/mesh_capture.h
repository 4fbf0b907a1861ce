/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Leading what an application opens to the proxy, or to the resolver. */
#ifndef WEFT_MESH_CAPTURE_H
#define WEFT_MESH_CAPTURE_H

#include "mesh_heartbeat.h"
#include "mesh_names.h"

#define PROXY_PORT 15001
#define DNS_CAPTURE_PORT 15053
#define DNS_PORT 53
#define RESOLVER_V4 bpf_htonl(0x7f000001)
#define LOOPBACK_INTERFACE 1
#define ECONNREFUSED 111

const volatile struct weft_abilities weft_abilities = {};

static __always_inline int is_under(__u64 cgroup, __u32 level) {
  return cgroup != 0 && bpf_get_current_ancestor_cgroup_id(level) == cgroup;
}

/* Where captured connections to `ip` go: IPv4 to a loopback address of its own, IPv6 to the one
 * that there is. */
static __always_inline void set_loopback(struct bpf_sock_addr* ctx, int family,
                                         const struct weft_ip* ip, __u32 asked, __u32 port) {
  struct weft_ip to;
  if (weft_ip_is_v4(ip))
    weft_ip_from_v4(&to, port == PROXY_PORT ? weft_loopback_for(ip, asked) : RESOLVER_V4);
  else
    weft_ip_from_v6(&to, 0, 0, 0, bpf_htonl(1));
  set_address(ctx, family, &to, port);
}

static __always_inline struct weft_socket* remember(struct bpf_sock_addr* ctx,
                                                    const struct weft_ip* ip, __u32 port,
                                                    __u16 kind, __u64 netns) {
  struct bpf_sock* sk = ctx->sk;
  if (!sk)
    return NULL;
  struct weft_socket* socket =
      bpf_sk_storage_get(&weft_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
  if (!socket)
    return NULL;
  socket->ip = *ip;
  socket->port = port;
  socket->picked_port = 0;
  socket->kind = kind;
  socket->is_v4 = weft_ip_is_v4(ip);
  socket->netns = netns;
  return socket;
}

/* Without a proxy: what to do instead of capturing, or nothing (-1) while there is one, or when the
 * kernel refuses by itself, since nobody listens. Fails closed, unless the node was told otherwise.
 */
static __always_inline int without_proxy(const struct weft_config* config, int is_dns,
                                         __u64 netns) {
  const int may_pass = config->flags & WEFT_CONFIG_PASS_WHEN_DOWN;
  const int is_stale = weft_proxy_is_stale();
  if (may_pass && (is_stale || !weft_proxy_listens(netns))) {
    weft_count(is_dns ? WEFT_COUNT_DNS_PASSED_DOWN : WEFT_COUNT_OUTBOUND_PASSED_DOWN);
    return GO_ON;
  }
  if (!is_stale || is_dns)
    return -1;
  weft_count(WEFT_COUNT_OUTBOUND_REFUSED_DOWN);
  if (weft_abilities.retval)
    bpf_set_retval(-ECONNREFUSED);
  return REFUSE;
}

/* `picked` is for the proxy, if it is not NULL. */
static __always_inline int capture(struct bpf_sock_addr* ctx, const struct weft_config* config,
                                   int family, const struct weft_ip* ip, __u32 port, __u64 netns,
                                   const struct weft_pick* picked) {
  const int is_dns = port == DNS_PORT;
  const int instead = without_proxy(config, is_dns, netns);
  if (instead >= 0)
    return instead;
  struct bpf_sock* sk = ctx->sk;
  if (sk && sk->bound_dev_if != 0 && sk->bound_dev_if != LOOPBACK_INTERFACE) {
    weft_count(WEFT_COUNT_OUTBOUND_REFUSED_DEVICE);
    return REFUSE;
  }
  const __u16 kind = is_dns ? WEFT_SOCKET_DNS : WEFT_SOCKET_CAPTURED;
  struct weft_socket* socket = remember(ctx, ip, port, kind, netns);
  if (!socket) {
    weft_count(WEFT_COUNT_OUTBOUND_REFUSED_STORAGE);
    return REFUSE;
  }
  if (picked) {
    socket->picked = picked->ip;
    socket->picked_port = picked->port;
  }
  set_loopback(ctx, family, ip, port, is_dns ? DNS_CAPTURE_PORT : PROXY_PORT);
  weft_count(is_dns ? WEFT_COUNT_DNS_CAPTURED : WEFT_COUNT_OUTBOUND_CAPTURED);
  return GO_ON;
}

#endif
