// SPDX-License-Identifier: Apache-2.0
#include "binding/probe.h"

#include <vector>

#include "binding/convert.h"
#include "kernel/foreign_programs.h"
#include "kernel/probe.h"

namespace weft::binding {
namespace {

Napi::Value probeKernel(const Napi::CallbackInfo& info) {
  auto out = Napi::Array::New(info.Env());
  for (const kernel::Feature& each : kernel::probeKernel(info[0].ToString().Utf8Value())) {
    auto feature = Napi::Object::New(info.Env());
    feature.Set("name", each.name);
    feature.Set("works", each.status.ok());
    feature.Set("reason", each.status.message());
    out[out.Length()] = feature;
  }
  return out;
}

Napi::Value foreignPrograms(const Napi::CallbackInfo& info) {
  auto out = Napi::Array::New(info.Env());
  const Result<std::vector<kernel::ForeignProgram>> found =
      kernel::foreignPrograms(info[0].ToString().Utf8Value());
  if (!found.ok()) {
    throwStatus(info.Env(), found.status());
    return out;
  }
  for (const kernel::ForeignProgram& each : found.value()) {
    auto program = Napi::Object::New(info.Env());
    program.Set("name", each.name);
    program.Set("hook", each.hook);
    program.Set("place", each.place);
    out[out.Length()] = program;
  }
  return out;
}

}  // namespace

void defineProbe(Napi::Env env, Napi::Object exports) {
  exports.Set("probeKernel", Napi::Function::New(env, probeKernel));
  exports.Set("foreignPrograms", Napi::Function::New(env, foreignPrograms));
}

}  // namespace weft::binding
