// SPDX-License-Identifier: Apache-2.0
#include "binding/sockmap.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "binding/convert.h"
#include "kernel/sockmap_gates.h"
#include "kernel/sockmap_tier.h"

namespace weft::binding {
namespace {

/// On a thread of its own: where it enters a namespace no JavaScript runs.
Napi::Value trySockmapGates(const Napi::CallbackInfo& info) {
  std::vector<kernel::GateResult> results;
  std::thread([&] { results = kernel::trySockmapGates(); }).join();
  Napi::Array out = Napi::Array::New(info.Env());
  for (const kernel::GateResult& result : results) {
    Napi::Object each = Napi::Object::New(info.Env());
    each.Set("name", result.name);
    each.Set("ok", result.ok);
    each.Set("reason", result.reason);
    each.Set("bit", 1U << result.gate);
    out[out.Length()] = each;
  }
  return out;
}

class JsSockmapTier : public Napi::ObjectWrap<JsSockmapTier> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "SockmapTier", {InstanceMethod("promote", &JsSockmapTier::promote)});
  }

  explicit JsSockmapTier(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    Result<std::unique_ptr<kernel::SockmapTier>> opened =
        kernel::SockmapTier::open(info[0].ToString().Utf8Value(), info[1].ToString().Utf8Value());
    if (opened.ok()) {
      tier_ = std::move(opened).value();
    } else {
      throwStatus(info.Env(), opened.status());
    }
  }

 private:
  void promote(const Napi::CallbackInfo& info) {
    if (Status status = tier_->promote(info[0].ToNumber().Int32Value()); !status.ok()) {
      throwStatus(info.Env(), status);
    }
  }

  std::unique_ptr<kernel::SockmapTier> tier_;
};

}  // namespace

void defineSockmap(Napi::Env env, Napi::Object exports) {
  exports.Set("SockmapTier", JsSockmapTier::define(env));
  exports.Set("trySockmapGates", Napi::Function::New(env, trySockmapGates));
}

}  // namespace weft::binding
