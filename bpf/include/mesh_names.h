/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Addresses in the context of hooks of sockets' addresses, and what an application knows them by.
 */
#ifndef WEFT_MESH_NAMES_H
#define WEFT_MESH_NAMES_H

#include <bpf/bpf_endian.h>

#include "addr.h"
#include "mesh_maps.h"
#include "mesh_sockets.h"

#define GO_ON 1
#define REFUSE 0

static __always_inline void destination_of(struct bpf_sock_addr* ctx, int family,
                                           struct weft_ip* ip) {
  if (family == 4)
    weft_ip_from_v4(ip, WEFT_READ(ctx->user_ip4));
  else
    weft_ip_from_v6(ip, WEFT_READ(ctx->user_ip6[0]), WEFT_READ(ctx->user_ip6[1]),
                    WEFT_READ(ctx->user_ip6[2]), WEFT_READ(ctx->user_ip6[3]));
}

static __always_inline void set_address(struct bpf_sock_addr* ctx, int family,
                                        const struct weft_ip* ip, __u32 port) {
  if (family == 4) {
    ctx->user_ip4 = ip->words[3];
  } else {
    ctx->user_ip6[0] = ip->words[0];
    ctx->user_ip6[1] = ip->words[1];
    ctx->user_ip6[2] = ip->words[2];
    ctx->user_ip6[3] = ip->words[3];
  }
  ctx->user_port = bpf_htons(port);
}

static __always_inline const struct weft_socket* known(struct bpf_sock_addr* ctx) {
  struct bpf_sock* sk = ctx->sk;
  return sk ? bpf_sk_storage_get(&weft_sockets, sk, NULL, 0) : NULL;
}

static __always_inline const struct weft_socket* captured(struct bpf_sock_addr* ctx) {
  const struct weft_socket* socket = known(ctx);
  const int is_captured =
      socket && (socket->kind == WEFT_SOCKET_CAPTURED || socket->kind == WEFT_SOCKET_DNS);
  return is_captured ? socket : NULL;
}

#endif
