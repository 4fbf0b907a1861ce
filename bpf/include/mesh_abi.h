/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs in the kernel share with the processes of the node: keys and values of maps,
 * and the order of counters. A change of any of it is another WEFT_ABI: maps are pinned, and
 * outlive the process that made them. What is in them is carried over, field by field as far as
 * both layouts go: values change at their end only. Addresses are 16 bytes in network order, IPv4
 * in its mapped form; ports are in host order. No field is left to padding, since keys are compared
 * byte by byte.
 */
#ifndef WEFT_MESH_ABI_H
#define WEFT_MESH_ABI_H

#include <linux/types.h>

#ifndef WEFT_NEXT_LAYOUT
#define WEFT_ABI 2
#define WEFT_LISTENERS_MAX (3 * WEFT_PODS_MAX)
#define WEFT_ADDED_FIELD
#else /* one that there is not yet, for tests of a change */
#define WEFT_ABI 1000
#define WEFT_LISTENERS_MAX (4 * WEFT_PODS_MAX)
#define WEFT_ADDED_FIELD __u64 added;
#endif

/* Most entries of one pod in each of its tables: connections on their way. */
#define WEFT_ENTRIES_MAX 16384
/* Most direct connections of one pod. Fewer than its table takes, since the kernel may see entries
 * for an instant that have just gone from there. */
#define WEFT_DIRECTS_MAX 16000
/* Most pods of one node, and addresses of theirs. */
#define WEFT_PODS_MAX 2048
#define WEFT_ADDRESSES_MAX 16384
/* Of one pod, so that all pods together find room for theirs. */
#define WEFT_ADDRESSES_OF_POD_MAX (WEFT_ADDRESSES_MAX / WEFT_PODS_MAX)
/* Most connections of one node that may leave TCP out. */
#define WEFT_PAIRS_MAX 16384
/* Most addresses and ports of services that an endpoint is picked for here, and places that all of
 * them have to pick from. */
#define WEFT_SERVICES_MAX 16384
#define WEFT_PICKS_MAX 65536
/* How long an authorized tuple waits for its SYN, in nanoseconds. */
#define WEFT_PASS_NS 10000000000ULL
/* A proxy that has not said that it lives for so long is taken for dead. It says so every second:
 * one that is busy for some of them is not. */
#define WEFT_STALE_NS 5000000000ULL

enum weft_listener_kind {
  WEFT_LISTENER_PLAINTEXT = 0,
  WEFT_LISTENER_HBONE = 1,
  WEFT_LISTENER_OUTBOUND =
      2, /* takes no connection from a program; it says that there is a proxy */
};

struct weft_ip {
  __u32 words[4]; /* of the network's order */
};

/* A connection as the end sees it that accepts it. */
struct weft_tuple {
  struct weft_ip remote;
  struct weft_ip local;
  __u16 remote_port;
  __u16 local_port;
};

/* Where a captured connection was going. */
struct weft_origin {
  struct weft_ip ip;
  __u32 port;
  __u32 picked_port;     /* 0: no endpoint was picked */
  struct weft_ip picked; /* of the service, for the proxy to take */
  __u64 cookie;          /* of the application's socket */
  __u64 born_ns;
};

/* A connection that the proxy does not take. */
struct weft_pass {
  __u64 born_ns;
  __u64 cookie; /* of the socket that connects */
};

/* Whether pods may connect to another pod of this node without the proxy; no verdict leaves it to
 * the proxy. `source` is the network namespace's cookie, and port 0 is every port without a row. */
struct weft_verdict_key {
  __u64 source;
  __u32 port;
  __u32 unused;
};

enum weft_action {
  WEFT_ALLOW = 1,
  WEFT_DENY = 2,
};

struct weft_verdict {
  __u64 expires_ns; /* monotonic: when the first of both certificates does */
  __u32 action;
  __u32 unused;
  WEFT_ADDED_FIELD
};

/* An address of a service, at one of its ports. */
struct weft_service_key {
  struct weft_ip ip;
  __u32 port;
  __u32 unused;
};

/* Where its places are to pick from: a table of its own for each time that they changed. */
struct weft_service {
  __u64 table;
  __u32 count;
  __u32 unused;
};

struct weft_pick_key {
  __u64 table;
  __u32 index;
  __u32 unused;
};

/* One place: all of a table are equally likely, and of 2^32 chances at this one `keep` stay, while
 * the others go to the place `other` (the alias method: Walker, Vose). */
struct weft_pick {
  struct weft_ip ip; /* of an endpoint */
  __u32 port;
  __u32 keep;
  __u32 other;
  __u32 unused;
};

enum weft_direct_state {
  WEFT_DIRECT_AUTHORIZED = 0, /* its SYN may come */
  WEFT_DIRECT_ESTABLISHED = 1,
};

/* A connection between two pods of this node, for as long as the client's socket lives. */
struct weft_direct {
  __u64 destination; /* the cookie of that pod's network namespace */
  __u64 cookie;      /* of the client's socket */
  __u64 born_ns;
  __u32 state;
  __u32 asked_port;
  struct weft_ip asked; /* by the application: the same as the pod's, or a service's */
  WEFT_ADDED_FIELD
};

/* One end of a direct connection whose data may go past TCP. */
struct weft_end {
  __u64 cookie; /* 0: that end is not enrolled */
  __u64 socket; /* where the kernel keeps it; good for as long as the cookie is found there */
};

enum weft_side {
  WEFT_CLIENT = 0,
  WEFT_SERVER = 1,
};

/* Both ends of such a connection, for as long as the client's socket lives. */
struct weft_pair {
  struct weft_end ends[2]; /* by weft_side */
  __u64 redirected[2];     /* bytes that this side sent past TCP */
  __u32 redirecting[2];    /* whether this side's last message went past TCP */
  __u32 off;               /* something was not as it should be: TCP for good */
  __u32 unused;
};

/* What the agent says of the sockmap tier. */
struct weft_sockmap {
  __u32 refused; /* a bit for each gate that fails, by weft_gate */
  __u32 asked;   /* how often a pod asked for it nevertheless */
};

/* What a kernel must get right for the sockmap tier, each tried on this very kernel. */
#define WEFT_GATES(X)                           \
  X(LOADS, "loads")                             \
  X(LOCKDOWN, "lockdown")                       \
  X(FOREIGN_PROGRAMS, "foreign-programs")       \
  X(KERNEL_MEMORY, "kernel-memory")             \
  X(REDIRECT, "redirect")                       \
  X(FIONREAD_PASSED, "fionread-passed")         \
  X(FIONREAD_REDIRECTED, "fionread-redirected") \
  X(RECEIVE_CHARGE, "receive-charge")           \
  X(BLOCKING_RECV, "blocking-recv")             \
  X(SPLICE, "splice")                           \
  X(ORDER, "order")                             \
  X(DUPLICATES, "duplicates")

enum weft_gate {
#define WEFT_GATE_ENUM(name, text) WEFT_GATE_##name,
  WEFT_GATES(WEFT_GATE_ENUM)
#undef WEFT_GATE_ENUM
      WEFT_GATE_MAX
};

enum weft_event_kind {
  WEFT_EVENT_DIRECT_OPENED = 1,
  WEFT_EVENT_DIRECT_CLOSED = 2, /* or never opened, by `established` */
  WEFT_EVENT_DIRECT_DENIED = 3, /* no socket of it ever sent a byte */
};

struct weft_event {
  struct weft_tuple tuple; /* remote is the client; without a port of it when denied */
  __u32 kind;
  __u64 source;
  __u64 destination;
  __u64 bytes_sent; /* by the client */
  __u64 bytes_received;
  __u64 duration_ns;
  __u32 rtt_us;
  __u32 retransmits;
  __u32 established;
  __u32 asked_port;
  struct weft_ip asked; /* by the application */
  __u32 refused;        /* when it never opened: by the other side, and not given up by its own */
  __u32 unused;
};

/* A pod that is captured, by the cookie of its network namespace. */
struct weft_pod {
  struct weft_ip ipv4; /* all zero when it has none */
  struct weft_ip ipv6;
  __u32 flags;
  __u32 slots; /* where those of its direct connections are counted; 0: it has none */
};

/* How many slots of a pod are taken: by its direct connections, and by sockets that are about to be
 * one or failed to. In a line of the cache by itself. */
struct weft_slots {
  __u32 taken;
  __u32 unused[15];
};

/* Nobody else can send from its addresses, and it may have direct connections. */
#define WEFT_POD_DIRECT 1
/* It asked for the sockmap tier, and this kernel may have it. */
#define WEFT_POD_SOCKMAP 2

/* Whose address it is: the cookie of that pod's network namespace. */
struct weft_address {
  __u64 netns;
};

struct weft_listener_key {
  __u64 netns;
  __u32 kind;
  __u32 unused;
};

/* Set once, when the programs are loaded; cgroups are told by their id and how deep they lie. */
struct weft_config {
  __u64 proxy_cgroup;
  __u64 probe_cgroup; /* 0: nobody's probes pass */
  __u32 proxy_level;
  __u32 probe_level;
  __u32 flags;
  __u32 unused;
};

/* What pods open goes out uncaptured while there is no proxy; else it is refused. */
#define WEFT_CONFIG_PASS_WHEN_DOWN 1

/* What this kernel can do that not all can; set before programs are loaded. */
struct weft_abilities {
  __u32 retval; /* a program chooses the error of a refusal */
  __u32 mptcp;  /* and tells sockets of MPTCP */
  __u32 dns;    /* datagrams of DNS have their hooks: connected sockets are captured, too */
};

/* One counter for each way a program can end, in the order of weft_counter_names. */
#define WEFT_COUNTERS(X)                                        \
  X(OUTBOUND_CAPTURED, "outbound_captured")                     \
  X(OUTBOUND_LOCAL, "outbound_local")                           \
  X(OUTBOUND_REFUSED_DEVICE, "outbound_refused_device")         \
  X(OUTBOUND_REFUSED_STORAGE, "outbound_refused_storage")       \
  X(OUTBOUND_LOST_ORIGIN, "outbound_lost_origin")               \
  X(OUTBOUND_REFUSED_DOWN, "outbound_refused_down")             \
  X(OUTBOUND_PASSED_DOWN, "outbound_passed_down")               \
  X(DNS_CAPTURED, "dns_captured")                               \
  X(DNS_PASSED_DOWN, "dns_passed_down")                         \
  X(INBOUND_CAPTURED, "inbound_captured")                       \
  X(INBOUND_TUNNEL, "inbound_tunnel")                           \
  X(INBOUND_PASSED, "inbound_passed")                           \
  X(INBOUND_EXPIRED, "inbound_expired")                         \
  X(INBOUND_REFUSED_NO_LISTENER, "inbound_refused_no_listener") \
  X(INBOUND_REFUSED_DOWN, "inbound_refused_down")               \
  X(PASS_PUBLISHED, "pass_published")                           \
  X(PASS_LOST, "pass_lost")                                     \
  X(SERVICE_PICKED, "service_picked")                           \
  X(SERVICE_LOST, "service_lost")                               \
  X(DIRECT_ALLOWED, "direct_allowed")                           \
  X(DIRECT_DENIED, "direct_denied")                             \
  X(DIRECT_EXPIRED, "direct_expired")                           \
  X(DIRECT_FULL, "direct_full")                                 \
  X(DIRECT_REFUSED_MPTCP, "direct_refused_mptcp")               \
  X(DIRECT_LOST, "direct_lost")                                 \
  X(DIRECT_PASSED, "direct_passed")                             \
  X(DIRECT_REFUSED_STALE, "direct_refused_stale")               \
  X(EVENTS_LOST, "events_lost")                                 \
  X(SOCKMAP_ENROLLED, "sockmap_enrolled")                       \
  X(SOCKMAP_REFUSED_BLOCKING, "sockmap_refused_blocking")       \
  X(SOCKMAP_REFUSED_ULP, "sockmap_refused_ulp")                 \
  X(SOCKMAP_REFUSED_FULL, "sockmap_refused_full")               \
  X(SOCKMAP_REDIRECTED_BYTES, "sockmap_redirected_bytes")       \
  X(SOCKMAP_SPILLED_BYTES, "sockmap_spilled_bytes")             \
  X(SOCKMAP_UNSETTLED_BYTES, "sockmap_unsettled_bytes")         \
  X(SOCKMAP_OFF_UNREADABLE, "sockmap_off_unreadable")           \
  X(SOCKMAP_OFF_STRANGER, "sockmap_off_stranger")               \
  X(SOCKMAP_OFF_BLOCKING, "sockmap_off_blocking")               \
  X(SOCKMAP_OFF_REDIRECT, "sockmap_off_redirect")               \
  X(SOCKMAP_ULP_DENIED, "sockmap_ulp_denied")

enum weft_counter {
#define WEFT_COUNTER_ENUM(name, text) WEFT_COUNT_##name,
  WEFT_COUNTERS(WEFT_COUNTER_ENUM)
#undef WEFT_COUNTER_ENUM
      WEFT_COUNTER_MAX
};

#endif
