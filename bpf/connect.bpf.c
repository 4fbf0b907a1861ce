/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What an application opens: its connections go to the proxy's listener in the pod's own network
 * namespace, its DNS to the node's resolver there, and it is told its peer's address as if they had
 * not. Attached to a cgroup above all pods; a process whose network namespace is no
 * pod's passes untouched. Each program can refuse (0) or let go on (1).
 *
 * Fail directions. Not a pod's namespace: passes. A pod's, and the kernel has no room to remember
 * where it was going: refused, since the proxy could not know. Bound to a device: refused, since
 * the proxy cannot be reached through one. The proxy is dead: refused, or passes where the node was
 * told so. To a service, and no endpoint of it can be picked here: captured, and the proxy chooses.
 * To a pod of this node, and its own has no slot left for it, or it is of MPTCP: captured. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "mesh_capture.h"
#include "mesh_features.h"
#include "mesh_maps.h"
#include "mesh_services.h"
#include "mesh_sockets.h"

char LICENSE[] SEC("license") = "GPL";

#define PLAINTEXT_PORT 15006
#define HBONE_PORT 15008

/* A socket may be connected again, elsewhere, also after it failed before its SYN. */
static __always_inline void forget(struct bpf_sock_addr* ctx) {
  struct bpf_sock* sk = ctx->sk;
  struct weft_socket* socket = sk ? bpf_sk_storage_get(&weft_sockets, sk, NULL, 0) : NULL;
  if (!socket)
    return;
  if (WEFT_HAS_DIRECT && !socket->is_published)
    weft_give_slot_back(socket);
  bpf_sk_storage_delete(&weft_sockets, sk);
}

/* Into a pod, uncaptured: the tuple is published when the kernel has chosen it. */
static __always_inline int pass_to(struct bpf_sock_addr* ctx, const struct weft_ip* ip, __u32 port,
                                   __u16 kind, __u64 netns) {
  if (remember(ctx, ip, port, kind, netns))
    return GO_ON;
  weft_count(WEFT_COUNT_OUTBOUND_REFUSED_STORAGE);
  return REFUSE;
}

/* A connection that the application asked for, and the pod that it leads to. */
struct direct_way {
  const struct weft_ip* asked;
  const struct weft_ip* ip;
  __u32 asked_port;
  __u32 port;
  __u64 source;
  __u64 destination;
  __u32 slots; /* of the source */
};

static __always_inline void tell_denied(const struct direct_way* way) {
  struct weft_event* event = bpf_ringbuf_reserve(&weft_events, sizeof *event, 0);
  if (!event) {
    weft_count(WEFT_COUNT_EVENTS_LOST);
    return;
  }
  __builtin_memset(event, 0, sizeof *event);
  event->kind = WEFT_EVENT_DIRECT_DENIED;
  event->tuple.local = *way->ip;
  event->tuple.local_port = way->port;
  event->asked = *way->asked;
  event->asked_port = way->asked_port;
  event->source = way->source;
  event->destination = way->destination;
  bpf_ringbuf_submit(event, 0);
}

static __always_inline int is_direct(const struct weft_pod* pod, const struct weft_address* owner) {
  const __u64 netns = owner->netns;
  const struct weft_pod* other = bpf_map_lookup_elem(&weft_pods, &netns);
  return pod && other && (pod->flags & other->flags & WEFT_POD_DIRECT);
}

/* Remembers a direct connection, which has a slot from now on. */
static __always_inline int take_way(struct bpf_sock_addr* ctx, const struct direct_way* way) {
  struct bpf_sock* sk = ctx->sk;
  /* The kernel made it, and says nothing of its end if it fails before its SYN. */
  if (weft_abilities.mptcp && sk && bpf_skc_to_mptcp_sock(sk)) {
    weft_count(WEFT_COUNT_DIRECT_REFUSED_MPTCP);
    return 0;
  }
  struct weft_socket* socket =
      remember(ctx, way->asked, way->asked_port, WEFT_SOCKET_DIRECT, way->destination);
  if (!socket)
    return 0;
  if (weft_take_slot(socket, way->slots))
    return 1;
  weft_count(WEFT_COUNT_DIRECT_FULL);
  return 0;
}

/* To another pod of this node, when policy says so here: as if there were no mesh, or not at all.
 */
static __always_inline int go_direct(struct bpf_sock_addr* ctx, const struct direct_way* way,
                                     int* result) {
  switch (weft_verdict_of(way->destination, way->source, way->port)) {
    case WEFT_ALLOW:
      if (!take_way(ctx, way))
        return 0;
      weft_count(WEFT_COUNT_DIRECT_ALLOWED);
      *result = GO_ON;
      return 1;
    case WEFT_DENY:
      weft_count(WEFT_COUNT_DIRECT_DENIED);
      tell_denied(way);
      if (weft_abilities.retval)
        bpf_set_retval(-ECONNREFUSED);
      *result = REFUSE;
      return 1;
  }
  return 0;
}

static __always_inline int is_proxy_port(__u32 port) {
  return port == PROXY_PORT || port == PLAINTEXT_PORT || port == HBONE_PORT;
}

/* To the endpoint of a service that was picked, when that is a pod of this node and of the family
 * that the application asked for. */
static __always_inline int go_picked(struct bpf_sock_addr* ctx, int family, struct direct_way* way,
                                     const struct weft_pod* pod, const struct weft_pick* pick,
                                     int* result) {
  const struct weft_address* owner = bpf_map_lookup_elem(&weft_addresses, &pick->ip);
  if (!owner || !is_direct(pod, owner) || is_proxy_port(pick->port) ||
      weft_ip_is_v4(&pick->ip) != weft_ip_is_v4(way->asked))
    return 0;
  way->ip = &pick->ip;
  way->port = pick->port;
  way->destination = owner->netns;
  if (!go_direct(ctx, way, result))
    return 0;
  if (*result == GO_ON)
    set_address(ctx, family, &pick->ip, pick->port);
  return 1;
}

/* What a pod opens to somebody else by TCP. */
static __always_inline int leave(struct bpf_sock_addr* ctx, const struct weft_config* config,
                                 int family, const struct weft_ip* ip, __u32 port, __u64 netns,
                                 const struct weft_pod* pod, const struct weft_address* owner) {
  struct direct_way way = {ip, ip, port, port, netns, owner ? owner->netns : 0, pod->slots};
  const struct weft_pick* pick = NULL;
  int result = GO_ON;
  if (owner) {
    if (WEFT_HAS_DIRECT && !is_proxy_port(port) && is_direct(pod, owner) &&
        go_direct(ctx, &way, &result))
      return result;
  } else if (WEFT_HAS_SERVICES && port != DNS_PORT && (pod->flags & WEFT_POD_DIRECT)) {
    pick = weft_pick_for(ip, port);
    if (pick && go_picked(ctx, family, &way, pod, pick, &result))
      return result;
  }
  return capture(ctx, config, family, ip, port, netns, pick);
}

static __always_inline int on_connect(struct bpf_sock_addr* ctx, int family) {
  const __u32 zero = 0;
  const struct weft_config* config = bpf_map_lookup_elem(&weft_config, &zero);
  if (!config)
    return GO_ON;
  const __u64 netns = bpf_get_netns_cookie(ctx);
  const struct weft_pod* pod = bpf_map_lookup_elem(&weft_pods, &netns);
  const int is_pod = pod != NULL;
  const int is_probe = !is_pod && is_under(config->probe_cgroup, config->probe_level);
  if (!is_pod && !is_probe)
    return GO_ON;

  const int is_tcp = ctx->protocol == IPPROTO_TCP;
  const __u32 port = bpf_ntohs(ctx->user_port);
  const int is_dns = ctx->protocol == IPPROTO_UDP && port == DNS_PORT && weft_abilities.dns;
  if (!is_tcp && !(is_pod && is_dns))
    return GO_ON;
  struct weft_ip ip;
  destination_of(ctx, family, &ip);
  const struct weft_address* owner = bpf_map_lookup_elem(&weft_addresses, &ip);
  if (is_probe)
    return owner ? pass_to(ctx, &ip, port, WEFT_SOCKET_PASS, owner->netns) : GO_ON;

  forget(ctx);
  if (weft_ip_is_loopback(&ip) || weft_ip_is_any(&ip)) {
    weft_count(WEFT_COUNT_OUTBOUND_LOCAL);
    return GO_ON;
  }
  const int is_own = owner && owner->netns == netns;
  if (is_under(config->proxy_cgroup, config->proxy_level)) {
    /* The pod may have more addresses than we were told: captured again, such a connection would go
     * round for ever. */
    const __u16 kind = is_own ? WEFT_SOCKET_PASS : WEFT_SOCKET_STRAY;
    return is_tcp ? pass_to(ctx, &ip, port, kind, netns) : GO_ON;
  }
  if (is_own) {
    weft_count(WEFT_COUNT_OUTBOUND_LOCAL);
    return is_tcp ? pass_to(ctx, &ip, port, WEFT_SOCKET_PASS, netns) : GO_ON;
  }
  return is_tcp && pod ? leave(ctx, config, family, &ip, port, netns, pod, owner)
                       : capture(ctx, config, family, &ip, port, netns, NULL);
}

#if WEFT_HAS_DIRECT
/* A socket that failed before its SYN, or was about to send it, and is closed now. */
SEC("cgroup/sock_release")
int weft_sock_release(struct bpf_sock* sk) {
  struct weft_socket* socket = bpf_sk_storage_get(&weft_sockets, sk, NULL, 0);
  if (socket && !socket->is_published)
    weft_give_slot_back(socket);
  return GO_ON;
}
#endif

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr* ctx) {
  return on_connect(ctx, 4);
}

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr* ctx) {
  return on_connect(ctx, 6);
}

/* Whom the application believes that it speaks to: a direct connection may have been to a service.
 */
static __always_inline int on_getpeername(struct bpf_sock_addr* ctx, int family) {
  const struct weft_socket* socket = known(ctx);
  if (socket && (socket->kind == WEFT_SOCKET_CAPTURED || socket->kind == WEFT_SOCKET_DNS ||
                 socket->kind == WEFT_SOCKET_DIRECT))
    set_address(ctx, family, &socket->ip, socket->port);
  return GO_ON;
}

SEC("cgroup/getpeername4")
int weft_getpeername4(struct bpf_sock_addr* ctx) {
  return on_getpeername(ctx, 4);
}

SEC("cgroup/getpeername6")
int weft_getpeername6(struct bpf_sock_addr* ctx) {
  return on_getpeername(ctx, 6);
}
