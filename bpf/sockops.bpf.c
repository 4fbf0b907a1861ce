/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The moment between connect() and the SYN, when the kernel has chosen a connection's tuple: what
 * connect() decided is published under it. Attached where connect.bpf.c is.
 *
 * Fail directions. An origin that finds no room: the proxy knows no destination and refuses. A pass
 * that finds no room, as one between pods: the connection is captured as anybody's would be. */
#include <linux/bpf.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "mesh_features.h"
#include "mesh_maps.h"
#include "mesh_sockets.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline void own_ip(struct bpf_sock_ops* ctx, int is_v4, struct weft_ip* ip) {
  if (is_v4)
    weft_ip_from_v4(ip, WEFT_READ(ctx->local_ip4));
  else
    weft_ip_from_v6(ip, WEFT_READ(ctx->local_ip6[0]), WEFT_READ(ctx->local_ip6[1]),
                    WEFT_READ(ctx->local_ip6[2]), WEFT_READ(ctx->local_ip6[3]));
}

static __always_inline void peer_ip(struct bpf_sock_ops* ctx, int is_v4, struct weft_ip* ip) {
  if (is_v4)
    weft_ip_from_v4(ip, WEFT_READ(ctx->remote_ip4));
  else
    weft_ip_from_v6(ip, WEFT_READ(ctx->remote_ip6[0]), WEFT_READ(ctx->remote_ip6[1]),
                    WEFT_READ(ctx->remote_ip6[2]), WEFT_READ(ctx->remote_ip6[3]));
}

/* The tuple of a connection that we open, as its peer will see it. */
static __always_inline void tuple_for_peer(struct bpf_sock_ops* ctx, int is_v4,
                                           struct weft_tuple* tuple) {
  own_ip(ctx, is_v4, &tuple->remote);
  peer_ip(ctx, is_v4, &tuple->local);
  tuple->remote_port = ctx->local_port;
  tuple->local_port = bpf_ntohl(ctx->remote_port);
}

/* What is published goes with its socket, if nobody took it before. */
static __always_inline void tell_close(struct bpf_sock_ops* ctx) {
  bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void publish_origin(struct bpf_sock_ops* ctx,
                                           const struct weft_socket* socket) {
  const __u64 netns = socket->netns;
  void* origins = bpf_map_lookup_elem(&weft_origins, &netns);
  struct weft_tuple key = {};
  tuple_for_peer(ctx, socket->is_v4, &key);
  struct weft_origin origin = {};
  origin.ip = socket->ip;
  origin.port = socket->port;
  origin.picked = socket->picked;
  origin.picked_port = socket->picked_port;
  origin.cookie = bpf_get_socket_cookie(ctx);
  origin.born_ns = bpf_ktime_get_ns();
  if (!origins || bpf_map_update_elem(origins, &key, &origin, BPF_ANY))
    weft_count(WEFT_COUNT_OUTBOUND_LOST_ORIGIN);
  tell_close(ctx);
}

static __always_inline void publish_pass(struct bpf_sock_ops* ctx,
                                         const struct weft_socket* socket) {
  const __u64 netns = socket->netns;
  void* passes = bpf_map_lookup_elem(&weft_passes, &netns);
  struct weft_tuple key = {};
  tuple_for_peer(ctx, socket->is_v4, &key);
  struct weft_pass pass = {};
  pass.born_ns = bpf_ktime_get_ns();
  pass.cookie = bpf_get_socket_cookie(ctx);
  if (!passes || bpf_map_update_elem(passes, &key, &pass, BPF_ANY))
    weft_count(WEFT_COUNT_PASS_LOST);
  else if (socket->kind == WEFT_SOCKET_PASS)
    weft_count(WEFT_COUNT_PASS_PUBLISHED);
  tell_close(ctx);
}

static __always_inline void publish_direct(struct bpf_sock_ops* ctx, struct weft_socket* socket) {
  const __u64 source = bpf_get_netns_cookie(ctx);
  void* directs = bpf_map_lookup_elem(&weft_directs, &source);
  struct weft_tuple key = {};
  tuple_for_peer(ctx, socket->is_v4, &key);
  struct weft_direct direct = {};
  direct.destination = socket->netns;
  direct.cookie = bpf_get_socket_cookie(ctx);
  direct.born_ns = bpf_ktime_get_ns();
  direct.asked = socket->ip;
  direct.asked_port = socket->port;
  if (!directs || bpf_map_update_elem(directs, &key, &direct, BPF_ANY))
    weft_count(WEFT_COUNT_DIRECT_LOST);
  socket->is_published = 1;
  tell_close(ctx);
}

static __always_inline void take_back_origin(struct bpf_sock_ops* ctx,
                                             const struct weft_socket* socket) {
  const __u64 netns = socket->netns;
  void* origins = bpf_map_lookup_elem(&weft_origins, &netns);
  struct weft_tuple key = {};
  tuple_for_peer(ctx, socket->is_v4, &key);
  const struct weft_origin* origin = origins ? bpf_map_lookup_elem(origins, &key) : NULL;
  if (origin && origin->cookie == bpf_get_socket_cookie(ctx))
    bpf_map_delete_elem(origins, &key);
}

static __always_inline void take_back_pass(struct bpf_sock_ops* ctx,
                                           const struct weft_socket* socket) {
  const __u64 netns = socket->netns;
  void* passes = bpf_map_lookup_elem(&weft_passes, &netns);
  struct weft_tuple key = {};
  tuple_for_peer(ctx, socket->is_v4, &key);
  const struct weft_pass* pass = passes ? bpf_map_lookup_elem(passes, &key) : NULL;
  if (pass && pass->cookie == bpf_get_socket_cookie(ctx))
    bpf_map_delete_elem(passes, &key);
}

static __always_inline void on_opened(struct bpf_sock_ops* ctx) {
  struct bpf_sock* sk = ctx->sk;
  const struct weft_socket* socket = sk ? bpf_sk_storage_get(&weft_sockets, sk, NULL, 0) : NULL;
  if (socket && socket->kind == WEFT_SOCKET_STRAY)
    take_back_pass(ctx, socket); /* it went elsewhere, or has come by now */
  if (!WEFT_HAS_DIRECT || !socket || socket->kind != WEFT_SOCKET_DIRECT)
    return;
  struct weft_event* event = bpf_ringbuf_reserve(&weft_events, sizeof *event, 0);
  if (!event) {
    weft_count(WEFT_COUNT_EVENTS_LOST);
    return;
  }
  __builtin_memset(event, 0, sizeof *event);
  tuple_for_peer(ctx, socket->is_v4, &event->tuple);
  event->kind = WEFT_EVENT_DIRECT_OPENED;
  event->source = bpf_get_netns_cookie(ctx);
  event->destination = socket->netns;
  event->asked = socket->ip;
  event->asked_port = socket->port;
  bpf_ringbuf_submit(event, 0);
}

/* The kernel's counts hold the SYN, and each FIN that was acknowledged or received. One that comes
 * when all else is over (in FIN_WAIT2) is told by no state, and counts as a byte. */
static __always_inline void count_bytes(struct bpf_sock_ops* ctx, struct weft_event* event) {
  const __u32 state = ctx->args[0];
  const __u64 own_ends =
      1 + (state == BPF_TCP_FIN_WAIT2 || state == BPF_TCP_LAST_ACK || state == BPF_TCP_TIME_WAIT);
  const __u64 peer_ends = state == BPF_TCP_CLOSE_WAIT || state == BPF_TCP_LAST_ACK ||
                          state == BPF_TCP_CLOSING || state == BPF_TCP_TIME_WAIT;
  const __u64 sent = ctx->bytes_acked, received = ctx->bytes_received;
  event->bytes_sent = sent > own_ends ? sent - own_ends : 0;
  event->bytes_received = received > peer_ends ? received - peer_ends : 0;
}

/* What went past TCP, which does not count it. Nothing of the connection goes there any more. */
static __always_inline void take_pair(const struct weft_tuple* key, struct weft_event* event) {
  const struct weft_pair* pair = bpf_map_lookup_elem(&weft_pairs, key);
  if (!pair)
    return;
  if (event) {
    event->bytes_sent += pair->redirected[WEFT_CLIENT];
    event->bytes_received += pair->redirected[WEFT_SERVER];
  }
  bpf_map_delete_elem(&weft_pairs, key);
}

/* The end of a client's direct connection: told with what the kernel counted. */
static __always_inline void tell_closed(struct bpf_sock_ops* ctx,
                                        const struct weft_socket* socket) {
  const __u64 source = bpf_get_netns_cookie(ctx);
  void* directs = bpf_map_lookup_elem(&weft_directs, &source);
  struct weft_tuple key = {};
  tuple_for_peer(ctx, socket->is_v4, &key);
  struct weft_direct* direct = directs ? bpf_map_lookup_elem(directs, &key) : NULL;
  if (!direct || direct->cookie != bpf_get_socket_cookie(ctx)) {
    take_pair(&key, NULL);
    return;
  }
  struct weft_event* event = bpf_ringbuf_reserve(&weft_events, sizeof *event, 0);
  if (event) {
    __builtin_memset(event, 0, sizeof *event);
    event->tuple = key;
    event->kind = WEFT_EVENT_DIRECT_CLOSED;
    event->source = source;
    event->destination = direct->destination;
    event->asked = direct->asked;
    event->asked_port = direct->asked_port;
    count_bytes(ctx, event);
    take_pair(&key, event);
    event->duration_ns = bpf_ktime_get_ns() - direct->born_ns;
    event->rtt_us = ctx->srtt_us >> 3;
    event->retransmits = ctx->total_retrans;
    event->established = direct->state == WEFT_DIRECT_ESTABLISHED;
    /* Of an answer to its SYN it died, which was a reset. */
    event->refused = ctx->args[0] == BPF_TCP_SYN_SENT && ctx->segs_in > 0;
    bpf_ringbuf_submit(event, 0);
  } else {
    weft_count(WEFT_COUNT_EVENTS_LOST);
    take_pair(&key, NULL);
  }
  bpf_map_delete_elem(directs, &key);
}

static __always_inline void on_closed(struct bpf_sock_ops* ctx) {
  struct bpf_sock* sk = ctx->sk;
  struct weft_socket* socket = sk ? bpf_sk_storage_get(&weft_sockets, sk, NULL, 0) : NULL;
  if (!socket)
    return;
  const __u32 state = ctx->args[0];
  if (WEFT_HAS_DIRECT && socket->kind == WEFT_SOCKET_DIRECT) {
    tell_closed(ctx, socket);
    weft_give_slot_back(socket); /* after its entry went: there is room for whoever takes it */
  } else if (socket->kind == WEFT_SOCKET_PASS || socket->kind == WEFT_SOCKET_STRAY)
    take_back_pass(ctx, socket);
  /* An application that had its say and left in order may be gone before the proxy accepts. */
  else if (socket->kind == WEFT_SOCKET_CAPTURED &&
           (state == BPF_TCP_SYN_SENT || state == BPF_TCP_ESTABLISHED ||
            state == BPF_TCP_CLOSE_WAIT))
    take_back_origin(ctx, socket);
}

static __always_inline void on_connect(struct bpf_sock_ops* ctx) {
  struct bpf_sock* sk = ctx->sk;
  if (!sk)
    return;
  struct weft_socket* socket = bpf_sk_storage_get(&weft_sockets, sk, NULL, 0);
  if (!socket)
    return;
  if (socket->kind == WEFT_SOCKET_CAPTURED)
    publish_origin(ctx, socket);
  else if (socket->kind == WEFT_SOCKET_PASS || socket->kind == WEFT_SOCKET_STRAY)
    publish_pass(ctx, socket);
  else if (WEFT_HAS_DIRECT && socket->kind == WEFT_SOCKET_DIRECT)
    publish_direct(ctx, socket);
}

/* What was let pass is good for one connection. */
static __always_inline void on_accepted(struct bpf_sock_ops* ctx) {
  const __u64 netns = bpf_get_netns_cookie(ctx);
  void* passes = bpf_map_lookup_elem(&weft_passes, &netns);
  if (!passes)
    return;
  struct weft_tuple key = {};
  int is_v4 = ctx->family == 2;
  if (!is_v4) {
    peer_ip(ctx, 0, &key.remote);
    is_v4 = weft_ip_is_v4(&key.remote);
  }
  peer_ip(ctx, is_v4, &key.remote);
  own_ip(ctx, is_v4, &key.local);
  key.remote_port = bpf_ntohl(ctx->remote_port);
  key.local_port = ctx->local_port;
  if (!bpf_map_delete_elem(passes, &key) || !WEFT_HAS_DIRECT)
    return;
  const struct weft_address* client = bpf_map_lookup_elem(&weft_addresses, &key.remote);
  if (!client)
    return;
  const __u64 source = client->netns;
  void* directs = bpf_map_lookup_elem(&weft_directs, &source);
  struct weft_direct* direct = directs ? bpf_map_lookup_elem(directs, &key) : NULL;
  if (direct && direct->destination == netns)
    direct->state = WEFT_DIRECT_ESTABLISHED;
}

SEC("sockops")
int weft_sockops(struct bpf_sock_ops* ctx) {
  switch (ctx->op) {
    case BPF_SOCK_OPS_TCP_CONNECT_CB:
      on_connect(ctx);
      break;
    case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
      on_opened(ctx);
      break;
    case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
      on_accepted(ctx);
      break;
    case BPF_SOCK_OPS_STATE_CB:
      if (ctx->args[1] == BPF_TCP_CLOSE)
        on_closed(ctx);
      break;
  }
  return 1;
}
