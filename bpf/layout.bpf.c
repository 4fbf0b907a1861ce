/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* No program: what the others share with the processes of the node, as this compiler lays it out.
 * The type information of this object says so, and a test compares it with the other compiler's. */
#include "mesh_abi.h"

const struct {
  struct weft_tuple tuple;
  struct weft_origin origin;
  struct weft_pass pass;
  struct weft_verdict_key verdict_key;
  struct weft_verdict verdict;
  struct weft_service_key service_key;
  struct weft_service service;
  struct weft_pick_key pick_key;
  struct weft_pick pick;
  struct weft_direct direct;
  struct weft_event event;
  struct weft_end end;
  struct weft_pair pair;
  struct weft_sockmap sockmap;
  struct weft_pod pod;
  struct weft_slots slots;
  struct weft_address address;
  struct weft_listener_key listener_key;
  struct weft_config config;
  struct weft_abilities abilities;
} weft_layout = {};
