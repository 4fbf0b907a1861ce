// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

namespace weft::binding {

/// Adds probeKernel and foreignPrograms to the addon's exports: kernel::probeKernel, which takes
/// the process away (see there), and kernel::foreignPrograms.
void defineProbe(Napi::Env env, Napi::Object exports);

}  // namespace weft::binding
