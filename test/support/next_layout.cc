// SPDX-License-Identifier: Apache-2.0
// The addon next_layout.node: capture in the kernel as a later build would have it.
#include <napi.h>

#include "binding/capture.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  weft::binding::defineCapture(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(next_layout, init)
