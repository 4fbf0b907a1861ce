/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The few fields of the kernel's own structures that programs read. Where they lie is found by name
 * when a program is loaded, by the type information of the kernel that loads it. */
#ifndef WEFT_KERNEL_TCP_H
#define WEFT_KERNEL_TCP_H

#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct file {
  unsigned int f_flags;
};

struct socket {
  struct file* file;
};

struct net {
  __u64 net_cookie;
};

typedef struct {
  struct net* net;
} possible_net_t;

typedef struct {
  int counter;
} atomic_t;

typedef struct {
  __s64 counter;
} atomic64_t;

struct in6_addr {
  union {
    __u32 u6_addr32[4];
  } in6_u;
};

struct sock_common {
  __u32 skc_daddr;
  __u32 skc_rcv_saddr;
  __u16 skc_dport;
  __u16 skc_num;
  unsigned short skc_family;
  volatile unsigned char skc_state;
  possible_net_t skc_net;
  struct in6_addr skc_v6_daddr;
  struct in6_addr skc_v6_rcv_saddr;
  atomic64_t skc_cookie;
};

struct sock {
  struct sock_common __sk_common;
  struct {
    atomic_t rmem_alloc;
  } sk_backlog;
  int sk_rcvbuf;
  struct socket* sk_socket;
};

struct inet_sock {
  struct sock sk;
};

struct tcp_ulp_ops;

struct inet_connection_sock {
  struct inet_sock icsk_inet;
  const struct tcp_ulp_ops* icsk_ulp_ops;
};

struct tcp_sock {
  struct inet_connection_sock inet_conn;
  __u32 copied_seq;
  __u32 rcv_nxt;
  __u32 write_seq;
  _Bool is_mptcp;
};

struct bpf_iter_meta;

struct bpf_iter__tcp {
  struct bpf_iter_meta* meta;
  struct sock_common* sk_common;
};

#pragma clang attribute pop

#endif
