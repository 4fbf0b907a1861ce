// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

namespace weft::binding {

/// seqpacketListen and seqpacketConnect: packets with descriptors for JavaScript, which has
/// neither. One thread serves all packet sockets of the process. See native/index.ts for the
/// promises.
void defineSeqpacket(Napi::Env env, Napi::Object exports);

}  // namespace weft::binding
