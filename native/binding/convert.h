// SPDX-License-Identifier: Apache-2.0
// From JavaScript values to ours. Types are checked here once; what stands behind may assert.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "proxy/pod.h"
#include "proxy/settings.h"
#include "tls/identity.h"

namespace weft::binding {

/// The bytes of a Uint8Array; they belong to JavaScript and hold until the call returns.
Result<std::span<uint8_t>> bytesOf(const Napi::Value& value);
Result<std::vector<std::string>> stringListOf(const Napi::Value& value);
Result<proxy::Settings> settingsOf(const Napi::Value& value);
Result<proxy::PodSpec> podSpecOf(const Napi::Value& value);
/// Copies the key, and wipes JavaScript's copy of it.
Result<tls::IdentityMaterial> identityOf(const Napi::Value& value);

/// Throws a JavaScript Error with `code` set to the status's name. The caller returns at once.
void throwStatus(Napi::Env env, const Status& status);

}  // namespace weft::binding
