// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

#include <memory>

#include "proxy/engine.h"

namespace weft::binding {

/// The JavaScript class `Engine`: converts arguments and forwards to proxy::Engine. See
/// native/index.ts for what each method promises.
class JsEngine final : public Napi::ObjectWrap<JsEngine> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit JsEngine(const Napi::CallbackInfo& info);

 private:
  void apply(const Napi::CallbackInfo& info);
  void setIdentity(const Napi::CallbackInfo& info);
  void removeIdentity(const Napi::CallbackInfo& info);
  void setDenyList(const Napi::CallbackInfo& info);
  void addPod(const Napi::CallbackInfo& info);
  void removePod(const Napi::CallbackInfo& info);
  void snapshot(const Napi::CallbackInfo& info);
  Napi::Value explain(const Napi::CallbackInfo& info);
  Napi::Value captureStats(const Napi::CallbackInfo& info);
  Napi::Value cryptoStats(const Napi::CallbackInfo& info);
  Napi::Value counters(const Napi::CallbackInfo& info);
  void listeners(const Napi::CallbackInfo& info);
  void takeOver(const Napi::CallbackInfo& info);
  void releaseDirect(const Napi::CallbackInfo& info);
  void directChanged(const Napi::CallbackInfo& info);
  void drain(const Napi::CallbackInfo& info);
  void stop(const Napi::CallbackInfo& info);
  void deliver(Napi::Env env, Napi::Function callback);
  proxy::Engine* engineOrThrow(Napi::Env env);

  Napi::ThreadSafeFunction onEvents_;
  std::unique_ptr<proxy::Engine> engine_;  // null after stop()
};

}  // namespace weft::binding
