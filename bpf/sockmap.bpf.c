/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Two pods of one node that are connected directly, and both asked for it: what one end sends goes
 * into the other end's socket, past TCP. An object of its own, loaded only where the gates of
 * native/kernel/sockmap_gates.h hold.
 *
 * A reader is given what came past TCP before what came by it. So data may leave TCP only when all
 * that was ever sent by TCP was received and read, which is found anew for each message; going back
 * needs no such care. Who sends past TCP is not held up by a reader that does not read: a message
 * that finds the reader's buffer half full goes by TCP, whose window then holds the sender up.
 *
 * Fail directions. All of them: TCP, as if this object were not there. What should not have
 * happened (memory that cannot be read, a socket that is another now, a refused redirect, a reader
 * that may block) ends it for that connection. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "kernel_tcp.h"
#include "mesh_maps.h"

char LICENSE[] SEC("license") = "GPL";

#define AF_INET_FAMILY 2
#define NONBLOCK 04000 /* O_NONBLOCK */
#define TCP_ULP_OPTION 31
#define GO_ON 1
#define REFUSE 0

/* The sockets that may send past TCP, by cookie. */
struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, WEFT_PAIRS_MAX * 2);
  __type(key, __u64);
  __type(value, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_ends SEC(".maps");

/* A socket keeps for its life the program that it was enrolled with: that is the one below, which
 * only calls what stands here, so that it can be replaced. */
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_redirects SEC(".maps");

/* Which sockets are enrolled, for who has no other way to know. */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u32);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} weft_marks SEC(".maps");

/* What a sender has to know of the socket at the other end. */
struct receiver {
  __u64 cookie;
  __u32 received;   /* the next byte that it expects from TCP */
  __u32 read;       /* and the next that its application has not read */
  __u32 queued;     /* bytes in its buffer, by either way */
  __u32 queued_max; /* how many it may have */
};

static __always_inline int read_receiver(__u64 where, struct receiver* out) {
  const struct tcp_sock* tcp = (const struct tcp_sock*)where;
  const struct sock* sk = (const struct sock*)where;
  /* The cookie last: had the socket been replaced meanwhile, it would tell. */
  return bpf_core_read(&out->received, sizeof out->received, &tcp->rcv_nxt) ||
         bpf_core_read(&out->read, sizeof out->read, &tcp->copied_seq) ||
         bpf_core_read(&out->queued, sizeof out->queued, &sk->sk_backlog.rmem_alloc) ||
         bpf_core_read(&out->queued_max, sizeof out->queued_max, &sk->sk_rcvbuf) ||
         bpf_core_read(&out->cookie, sizeof out->cookie, &sk->__sk_common.skc_cookie);
}

/* Whether its reader may be put to sleep: the kernel then wakes it with an error that nobody
 * expects. */
static __always_inline int may_block(__u64 where) {
  const struct sock* sk = (const struct sock*)where;
  struct socket* socket = NULL;
  struct file* file = NULL;
  __u32 flags = 0;
  if (bpf_core_read(&socket, sizeof socket, &sk->sk_socket) || !socket ||
      bpf_core_read(&file, sizeof file, &socket->file) || !file ||
      bpf_core_read(&flags, sizeof flags, &file->f_flags))
    return 1;
  return !(flags & NONBLOCK);
}

static __always_inline int turn_off(struct weft_pair* pair, __u32 counter) {
  pair->off = 1;
  weft_count(counter);
  return SK_PASS;
}

static __always_inline int by_tcp(struct weft_pair* pair, __u32 side, __u32 counter, __u32 size) {
  pair->redirecting[side] = 0;
  weft_add(counter, size);
  return SK_PASS;
}

/* The connection's tuple, as its server sees it, when the sender is the client. */
static __always_inline void tuple_of_client(struct sk_msg_md* msg, struct weft_tuple* key) {
  if (msg->family == AF_INET_FAMILY) {
    weft_ip_from_v4(&key->remote, WEFT_READ(msg->local_ip4));
    weft_ip_from_v4(&key->local, WEFT_READ(msg->remote_ip4));
  } else {
    weft_ip_from_v6(&key->remote, WEFT_READ(msg->local_ip6[0]), WEFT_READ(msg->local_ip6[1]),
                    WEFT_READ(msg->local_ip6[2]), WEFT_READ(msg->local_ip6[3]));
    weft_ip_from_v6(&key->local, WEFT_READ(msg->remote_ip6[0]), WEFT_READ(msg->remote_ip6[1]),
                    WEFT_READ(msg->remote_ip6[2]), WEFT_READ(msg->remote_ip6[3]));
  }
  key->remote_port = WEFT_READ(msg->local_port);
  key->local_port = bpf_ntohl(WEFT_READ(msg->remote_port));
}

static __always_inline void turn_round(const struct weft_tuple* from, struct weft_tuple* to) {
  to->remote = from->local;
  to->local = from->remote;
  to->remote_port = from->local_port;
  to->local_port = from->remote_port;
}

/* The pair that `me` is an end of, and which. */
static __always_inline struct weft_pair* pair_of(struct sk_msg_md* msg, const struct tcp_sock* me,
                                                 __u32* side) {
  struct weft_tuple key = {}, turned = {};
  tuple_of_client(msg, &key);
  *side = WEFT_CLIENT;
  struct weft_pair* pair = bpf_map_lookup_elem(&weft_pairs, &key);
  if (pair && pair->ends[WEFT_CLIENT].socket == (__u64)me)
    return pair;
  turn_round(&key, &turned);
  *side = WEFT_SERVER;
  pair = bpf_map_lookup_elem(&weft_pairs, &turned);
  return pair && pair->ends[WEFT_SERVER].socket == (__u64)me ? pair : NULL;
}

static __always_inline int redirect(struct sk_msg_md* msg, struct weft_pair* pair, __u32 side,
                                    const struct weft_end* other, const struct tcp_sock* me) {
  struct receiver to = {};
  if (read_receiver(other->socket, &to))
    return turn_off(pair, WEFT_COUNT_SOCKMAP_OFF_UNREADABLE);
  if (to.cookie != other->cookie)
    return turn_off(pair, WEFT_COUNT_SOCKMAP_OFF_STRANGER);
  const __u32 size = msg->size;
  if (me->write_seq != to.received || to.received != to.read)
    return by_tcp(pair, side, WEFT_COUNT_SOCKMAP_UNSETTLED_BYTES, size);
  /* Back past TCP only when the reader has caught up somewhat, or it would change for each message.
   */
  const __u32 full = to.queued_max / 2;
  const int has_room =
      pair->redirecting[side] ? !to.queued || to.queued + size <= full : to.queued <= full / 2;
  if (!has_room)
    return by_tcp(pair, side, WEFT_COUNT_SOCKMAP_SPILLED_BYTES, size);
  if (!pair->redirecting[side] && may_block(other->socket))
    return turn_off(pair, WEFT_COUNT_SOCKMAP_OFF_BLOCKING);
  __u64 key = other->cookie;
  if (bpf_msg_redirect_hash(msg, &weft_ends, &key, BPF_F_INGRESS) != SK_PASS)
    return turn_off(pair, WEFT_COUNT_SOCKMAP_OFF_REDIRECT);
  pair->redirecting[side] = 1;
  pair->redirected[side] += size;
  weft_add(WEFT_COUNT_SOCKMAP_REDIRECTED_BYTES, size);
  return SK_PASS;
}

/* By which way a message goes. Runs for each, with the sender's socket locked. */
SEC("sk_msg")
int weft_redirect(struct sk_msg_md* msg) {
  struct bpf_sock* sk = msg->sk;
  struct tcp_sock* me = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
  if (!me)
    return SK_PASS; /* no TCP */
  __u32 side = 0;
  struct weft_pair* pair = pair_of(msg, me, &side);
  if (!pair || pair->off)
    return SK_PASS; /* not one of ours, or no longer */
  if (side == WEFT_CLIENT)
    return pair->ends[WEFT_SERVER].cookie
               ? redirect(msg, pair, WEFT_CLIENT, &pair->ends[WEFT_SERVER], me)
               : SK_PASS; /* the other end is not enrolled yet */
  return pair->ends[WEFT_CLIENT].cookie
             ? redirect(msg, pair, WEFT_SERVER, &pair->ends[WEFT_CLIENT], me)
             : SK_PASS;
}

SEC("sk_msg")
int weft_message(struct sk_msg_md* msg) {
  bpf_tail_call(msg, &weft_redirects, 0);
  return SK_PASS; /* nothing stands there: TCP */
}

static __always_inline void tuple_of_acceptor(const struct sock_common* sk,
                                              struct weft_tuple* key) {
  if (sk->skc_family == AF_INET_FAMILY) {
    weft_ip_from_v4(&key->remote, sk->skc_daddr);
    weft_ip_from_v4(&key->local, sk->skc_rcv_saddr);
  } else {
    const struct in6_addr* peer = &sk->skc_v6_daddr;
    const struct in6_addr* own = &sk->skc_v6_rcv_saddr;
    weft_ip_from_v6(&key->remote, peer->in6_u.u6_addr32[0], peer->in6_u.u6_addr32[1],
                    peer->in6_u.u6_addr32[2], peer->in6_u.u6_addr32[3]);
    weft_ip_from_v6(&key->local, own->in6_u.u6_addr32[0], own->in6_u.u6_addr32[1],
                    own->in6_u.u6_addr32[2], own->in6_u.u6_addr32[3]);
  }
  key->remote_port = bpf_ntohs(sk->skc_dport);
  key->local_port = sk->skc_num;
}

static __always_inline int may_bypass(__u64 netns) {
  const struct weft_pod* pod = bpf_map_lookup_elem(&weft_pods, &netns);
  return pod && (pod->flags & WEFT_POD_SOCKMAP);
}

/* Whether the socket is the client's of a direct connection between two pods that asked. */
static __always_inline int is_client(const struct weft_tuple* key, __u64 netns, __u64 cookie) {
  void* directs = bpf_map_lookup_elem(&weft_directs, &netns);
  const struct weft_direct* direct = directs ? bpf_map_lookup_elem(directs, key) : NULL;
  return direct && direct->cookie == cookie && direct->state == WEFT_DIRECT_ESTABLISHED &&
         may_bypass(direct->destination);
}

static __always_inline int is_server(const struct weft_tuple* key, __u64 netns) {
  const struct weft_address* client = bpf_map_lookup_elem(&weft_addresses, &key->remote);
  if (!client)
    return 0;
  const __u64 source = client->netns;
  void* directs = bpf_map_lookup_elem(&weft_directs, &source);
  const struct weft_direct* direct = directs ? bpf_map_lookup_elem(directs, key) : NULL;
  return direct && direct->destination == netns && direct->state == WEFT_DIRECT_ESTABLISHED &&
         may_bypass(source);
}

/* Whether the kernel lets such a socket be enrolled without harm to its application. */
static __always_inline int is_fit(struct tcp_sock* tcp) {
  struct sock* sk = (struct sock*)tcp;
  struct socket* socket = sk->sk_socket;
  if (!socket)
    return 0; /* nobody has accepted it yet */
  struct file* file = socket->file;
  if (!file || !(file->f_flags & NONBLOCK)) {
    weft_count(WEFT_COUNT_SOCKMAP_REFUSED_BLOCKING);
    return 0;
  }
  if (tcp->inet_conn.icsk_ulp_ops ||
      (bpf_core_field_exists(tcp->is_mptcp) && BPF_CORE_READ(tcp, is_mptcp))) {
    weft_count(WEFT_COUNT_SOCKMAP_REFUSED_ULP);
    return 0;
  }
  return 1;
}

static __always_inline struct weft_pair* open_pair(const struct weft_tuple* key) {
  struct weft_pair* pair = bpf_map_lookup_elem(&weft_pairs, key);
  if (pair)
    return pair;
  const struct weft_pair fresh = {};
  if (bpf_map_update_elem(&weft_pairs, key, &fresh, BPF_NOEXIST))
    return NULL;
  return bpf_map_lookup_elem(&weft_pairs, key);
}

static __always_inline void enrol(struct sock_common* sk, struct tcp_sock* tcp,
                                  const struct weft_tuple* key, __u32 side, __u64 cookie) {
  struct weft_pair* pair = open_pair(key);
  if (!pair) {
    weft_count(WEFT_COUNT_SOCKMAP_REFUSED_FULL);
    return;
  }
  struct weft_end* end = side == WEFT_CLIENT ? &pair->ends[WEFT_CLIENT] : &pair->ends[WEFT_SERVER];
  if (end->cookie || pair->off || !is_fit(tcp))
    return;
  __u64 own = cookie;
  if (!bpf_sk_storage_get(&weft_marks, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) ||
      bpf_map_update_elem(&weft_ends, &own, sk, BPF_NOEXIST)) {
    pair->off = 1;
    weft_count(WEFT_COUNT_SOCKMAP_REFUSED_FULL);
    return;
  }
  end->socket = (__u64)tcp;
  end->cookie = cookie;
  weft_count(WEFT_COUNT_SOCKMAP_ENROLLED);
}

/* Enrols what may be of the sockets of one network namespace; run by the agent, inside it. */
SEC("iter/tcp")
int weft_promote(struct bpf_iter__tcp* ctx) {
  struct sock_common* sk = ctx->sk_common;
  if (!sk || sk->skc_state != BPF_TCP_ESTABLISHED)
    return 0;
  struct tcp_sock* tcp = bpf_skc_to_tcp_sock(sk);
  const __u64 netns = sk->skc_net.net->net_cookie;
  if (!tcp || !may_bypass(netns))
    return 0;
  const __u64 cookie = bpf_get_socket_cookie(sk);
  struct weft_tuple accepted = {}, opened = {};
  tuple_of_acceptor(sk, &accepted);
  turn_round(&accepted, &opened);
  if (is_client(&opened, netns, cookie))
    enrol(sk, tcp, &opened, WEFT_CLIENT, cookie);
  else if (is_server(&accepted, netns))
    enrol(sk, tcp, &accepted, WEFT_SERVER, cookie);
  return 0;
}

/* Layers over TCP and a sockmap do not go together: kernels of both kinds were exploitable. */
SEC("cgroup/setsockopt")
int weft_refuse_ulp(struct bpf_sockopt* ctx) {
  struct bpf_sock* sk = ctx->sk;
  if (ctx->level == IPPROTO_TCP && ctx->optname == TCP_ULP_OPTION && sk &&
      bpf_sk_storage_get(&weft_marks, sk, NULL, 0)) {
    weft_count(WEFT_COUNT_SOCKMAP_ULP_DENIED);
    return REFUSE;
  }
  ctx->optlen = 0; /* as the application gave it, also where it is longer than a page */
  return GO_ON;
}
