// SPDX-License-Identifier: Apache-2.0
// The addon bpf_linker.node, which only the build uses.
#include <napi.h>

#include <string>
#include <vector>

#include "kernel/linker.h"

namespace {

void linkObjects(const Napi::CallbackInfo& info) {
  std::vector<std::string> inputs;
  const auto given = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < given.Length(); i++) {
    inputs.push_back(given.Get(i).ToString().Utf8Value());
  }
  const weft::Status status = weft::kernel::linkObjects(info[0].ToString().Utf8Value(), inputs);
  if (!status.ok()) {
    Napi::Error::New(info.Env(), status.message()).ThrowAsJavaScriptException();
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("linkObjects", Napi::Function::New(env, linkObjects));
  return exports;
}

}  // namespace

NODE_API_MODULE(bpf_linker, init)
