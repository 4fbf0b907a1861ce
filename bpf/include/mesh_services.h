/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which endpoint of a service a connection goes to. */
#ifndef WEFT_MESH_SERVICES_H
#define WEFT_MESH_SERVICES_H

#include "mesh_maps.h"
#include "picks.h"

/* An endpoint for a connection to this address; none where the proxy has to choose. */
static __always_inline const struct weft_pick* weft_pick_for(const struct weft_ip* ip, __u32 port) {
  struct weft_service_key asked = {};
  asked.ip = *ip;
  asked.port = port;
  const struct weft_service* service = bpf_map_lookup_elem(&weft_services, &asked);
  if (!service)
    return NULL;
  struct weft_pick_key key = {};
  key.table = service->table;
  key.index = weft_pick_place(bpf_get_prandom_u32(), service->count);
  const struct weft_pick* pick = bpf_map_lookup_elem(&weft_picks, &key);
  if (pick && !weft_pick_stays(pick, bpf_get_prandom_u32())) {
    key.index = pick->other;
    pick = bpf_map_lookup_elem(&weft_picks, &key);
  }
  /* One that was just replaced may be gone. */
  weft_count(pick ? WEFT_COUNT_SERVICE_PICKED : WEFT_COUNT_SERVICE_LOST);
  return pick;
}

#endif
