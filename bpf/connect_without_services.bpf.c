/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* For a kernel that refuses to pick endpoints of services: the proxy picks them. */
#define WEFT_HAS_SERVICES 0

#include "connect.bpf.c"
