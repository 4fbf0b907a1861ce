// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

#include <span>

#include "crypto/batch.h"

namespace weft::binding {

/// CryptoStats of native/engine-options.ts: the sum over all workers.
Napi::Object cryptoStatsOf(Napi::Env env, crypto::Mode mode,
                           std::span<const crypto::BatchTotals* const> workers);

/// `cryptoProbe()` of native/crypto.ts: what this processor has, and its break-evens.
Napi::Value probeCrypto(const Napi::CallbackInfo& info);

}  // namespace weft::binding
