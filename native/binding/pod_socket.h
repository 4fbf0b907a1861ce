// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

namespace weft::binding {

/// podSocket(kind, netns, address, port, mark): see native/pod-socket.ts for the promises.
void definePodSocket(Napi::Env env, Napi::Object exports);

}  // namespace weft::binding
