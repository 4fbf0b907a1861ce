/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* For a kernel that refuses direct connections: all are captured. */
#define WEFT_HAS_DIRECT 0

#include "connect.bpf.c"
