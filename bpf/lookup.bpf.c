/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who takes a connection that arrives in a pod: the application, when its tuple was let pass before
 * the SYN left, else the proxy. It runs once for a connection and never for a packet of one. Each
 * pod has an instance of its own, which knows the cookie of its network namespace.
 *
 * Fail directions. No pass, or an expired one: captured. No listener of the proxy, or one
 * that hangs: refused by reset, so that nobody is served past the proxy. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "mesh_features.h"
#include "mesh_heartbeat.h"
#include "mesh_maps.h"

char LICENSE[] SEC("license") = "GPL";

#define HBONE_PORT 15008
#define AF_INET_FAMILY 2

/* Set before the program is loaded. */
const volatile __u64 weft_netns = 0;

static __always_inline void tuple_of(struct bpf_sk_lookup* ctx, struct weft_tuple* key) {
  if (ctx->family == AF_INET_FAMILY) {
    weft_ip_from_v4(&key->remote, WEFT_READ(ctx->remote_ip4));
    weft_ip_from_v4(&key->local, WEFT_READ(ctx->local_ip4));
  } else {
    weft_ip_from_v6(&key->remote, WEFT_READ(ctx->remote_ip6[0]), WEFT_READ(ctx->remote_ip6[1]),
                    WEFT_READ(ctx->remote_ip6[2]), WEFT_READ(ctx->remote_ip6[3]));
    weft_ip_from_v6(&key->local, WEFT_READ(ctx->local_ip6[0]), WEFT_READ(ctx->local_ip6[1]),
                    WEFT_READ(ctx->local_ip6[2]), WEFT_READ(ctx->local_ip6[3]));
  }
  key->remote_port = bpf_ntohs(ctx->remote_port);
  key->local_port = ctx->local_port;
}

static __always_inline int may_pass(const struct weft_tuple* key) {
  const __u64 netns = weft_netns;
  void* passes = bpf_map_lookup_elem(&weft_passes, &netns);
  if (!passes)
    return 0;
  const struct weft_pass* pass = bpf_map_lookup_elem(passes, key);
  if (!pass)
    return 0;
  if (bpf_ktime_get_ns() - pass->born_ns > WEFT_PASS_NS) {
    weft_count(WEFT_COUNT_INBOUND_EXPIRED);
    return 0;
  }
  return 1;
}

/* From another pod of this node, whose connect() was allowed. Policy is asked again: it may have
 * changed since. */
static __always_inline int may_pass_direct(const struct weft_tuple* key) {
  const __u64 netns = weft_netns;
  const struct weft_address* client = bpf_map_lookup_elem(&weft_addresses, &key->remote);
  if (!client || client->netns == netns)
    return 0;
  const __u64 source = client->netns;
  void* directs = bpf_map_lookup_elem(&weft_directs, &source);
  if (!directs)
    return 0;
  const struct weft_direct* direct = bpf_map_lookup_elem(directs, key);
  if (!direct)
    return 0;
  const struct weft_address* own = bpf_map_lookup_elem(&weft_addresses, &key->local);
  if (!own || own->netns != netns)
    return 0;
  if (direct->destination != netns || direct->state != WEFT_DIRECT_AUTHORIZED ||
      bpf_ktime_get_ns() - direct->born_ns > WEFT_PASS_NS ||
      weft_verdict_of(netns, source, key->local_port) != WEFT_ALLOW) {
    weft_count(WEFT_COUNT_DIRECT_REFUSED_STALE);
    return 0;
  }
  return 1;
}

static __always_inline int assign(struct bpf_sk_lookup* ctx, __u32 kind) {
  if (weft_proxy_is_stale()) {
    weft_count(WEFT_COUNT_INBOUND_REFUSED_DOWN);
    return SK_DROP;
  }
  struct weft_listener_key key = {};
  key.netns = weft_netns;
  key.kind = kind;
  struct bpf_sock* listener = bpf_map_lookup_elem(&weft_listeners, &key);
  if (!listener) {
    weft_count(WEFT_COUNT_INBOUND_REFUSED_NO_LISTENER);
    return SK_DROP;
  }
  const long refused = bpf_sk_assign(ctx, listener, 0);
  bpf_sk_release(listener);
  if (refused) {
    weft_count(WEFT_COUNT_INBOUND_REFUSED_NO_LISTENER);
    return SK_DROP;
  }
  weft_count(kind == WEFT_LISTENER_HBONE ? WEFT_COUNT_INBOUND_TUNNEL : WEFT_COUNT_INBOUND_CAPTURED);
  return SK_PASS;
}

SEC("sk_lookup")
int weft_lookup(struct bpf_sk_lookup* ctx) {
  if (ctx->protocol != IPPROTO_TCP)
    return SK_PASS;
  struct weft_tuple key = {};
  tuple_of(ctx, &key);
  if (weft_ip_is_loopback(&key.local))
    return SK_PASS;
  if (key.local_port == HBONE_PORT)
    return assign(ctx, WEFT_LISTENER_HBONE);
  if (WEFT_HAS_DIRECT && may_pass_direct(&key)) {
    weft_count(WEFT_COUNT_DIRECT_PASSED);
    return SK_PASS;
  }
  if (may_pass(&key)) {
    weft_count(WEFT_COUNT_INBOUND_PASSED);
    return SK_PASS;
  }
  return assign(ctx, WEFT_LISTENER_PLAINTEXT);
}
