/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Addresses. Nothing here calls the kernel: it compiles natively, too, and is tested there. */
#ifndef WEFT_ADDR_H
#define WEFT_ADDR_H

#include "mesh_abi.h"

static inline __attribute__((always_inline)) void weft_ip_from_v4(struct weft_ip* out, __u32 v4) {
  out->words[0] = 0;
  out->words[1] = 0;
  out->words[2] = __builtin_bswap32(0x0000ffff);
  out->words[3] = v4;
}

static inline __attribute__((always_inline)) void weft_ip_from_v6(struct weft_ip* out, __u32 a,
                                                                  __u32 b, __u32 c, __u32 d) {
  out->words[0] = a;
  out->words[1] = b;
  out->words[2] = c;
  out->words[3] = d;
}

static inline __attribute__((always_inline)) int weft_ip_is_v4(const struct weft_ip* ip) {
  return ip->words[0] == 0 && ip->words[1] == 0 && ip->words[2] == __builtin_bswap32(0x0000ffff);
}

/* 127.0.0.0/8 or ::1. */
static inline __attribute__((always_inline)) int weft_ip_is_loopback(const struct weft_ip* ip) {
  if (weft_ip_is_v4(ip))
    return (ip->words[3] & __builtin_bswap32(0xff000000)) == __builtin_bswap32(0x7f000000);
  return ip->words[0] == 0 && ip->words[1] == 0 && ip->words[2] == 0 &&
         ip->words[3] == __builtin_bswap32(1);
}

/* 0.0.0.0 or ::, for which the kernel connects to itself. */
static inline __attribute__((always_inline)) int weft_ip_is_any(const struct weft_ip* ip) {
  return ip->words[3] == 0 &&
         (weft_ip_is_v4(ip) || (ip->words[0] == 0 && ip->words[1] == 0 && ip->words[2] == 0));
}

/* One of 127.64.0.0/10 for a destination: connections to different places differ in their address,
 * as they did before, so that ports of the application run out no sooner. In network order. */
static inline __attribute__((always_inline)) __u32 weft_loopback_for(const struct weft_ip* ip,
                                                                     __u32 port) {
  __u32 hash = port * 0x9e3779b1u;
  hash = (hash ^ ip->words[0]) * 0x85ebca6bu;
  hash = (hash ^ ip->words[1]) * 0xc2b2ae35u;
  hash = (hash ^ ip->words[2]) * 0x27d4eb2fu;
  hash = (hash ^ ip->words[3]) * 0x165667b1u;
  hash ^= hash >> 15;
  return __builtin_bswap32(0x7f400000u | (hash & 0x003fffffu));
}

#endif
