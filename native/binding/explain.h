// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

#include "proxy/explain.h"

namespace weft::binding {

/// The JavaScript form of an explanation; native/index.ts says what it looks like.
Napi::Object explanationOf(Napi::Env env, const proxy::Explanation& explanation);

}  // namespace weft::binding
