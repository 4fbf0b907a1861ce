// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

namespace weft::binding {

/// Adds the class NodeCapture, which wraps kernel::NodeCapture, to the addon's exports.
void defineCapture(Napi::Env env, Napi::Object exports);

}  // namespace weft::binding
