/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How a place of a table is drawn. Nothing here calls the kernel: it compiles natively, too, and is
 * tested there. */
#ifndef WEFT_PICKS_H
#define WEFT_PICKS_H

#include "mesh_abi.h"

/* One of `count` places, by a number of chance. */
static inline __attribute__((always_inline)) __u32 weft_pick_place(__u32 chance, __u32 count) {
  return (__u32)(((__u64)chance * count) >> 32);
}

/* Whether it is this place that was picked, by another number of chance; else it is `other`. */
static inline __attribute__((always_inline)) int weft_pick_stays(const struct weft_pick* pick,
                                                                 __u32 chance) {
  return chance < pick->keep;
}

#endif
