// SPDX-License-Identifier: Apache-2.0
// Programs that try one thing each; bpf/probe has their sources, and probe_objects.S their bytes.
#pragma once

#include <cstddef>

#include "kernel/objects.h"

#define WEFT_PROBE_OBJECTS(X) \
  X(connect)                  \
  X(names)                    \
  X(datagrams)                \
  X(link)                     \
  X(sockops)                  \
  X(release)                  \
  X(netns_cookie)             \
  X(retval)                   \
  X(ringbuf)                  \
  X(sk_lookup)                \
  X(sk_msg)                   \
  X(iter_tcp)                 \
  X(iter_sockmap)

extern "C" {
#define WEFT_PROBE_BYTES(name)                \
  extern const std::byte weft_probe_##name[]; \
  extern const std::byte weft_probe_##name##_end[];
WEFT_PROBE_OBJECTS(WEFT_PROBE_BYTES)
#undef WEFT_PROBE_BYTES
}

namespace weft::kernel::probe_objects {

#define WEFT_PROBE_OBJECT(name)                                          \
  inline BpfObject name() {                                              \
    return {"try_" #name, {weft_probe_##name, weft_probe_##name##_end}}; \
  }
WEFT_PROBE_OBJECTS(WEFT_PROBE_OBJECT)
#undef WEFT_PROBE_OBJECT

}  // namespace weft::kernel::probe_objects
