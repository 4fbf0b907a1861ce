// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

namespace weft::binding {

/// Adds the class SockmapTier, which wraps kernel::SockmapTier, and trySockmapGates() to the
/// addon's exports.
void defineSockmap(Napi::Env env, Napi::Object exports);

}  // namespace weft::binding
