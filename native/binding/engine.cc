// SPDX-License-Identifier: Apache-2.0
#include "binding/engine.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "binding/convert.h"
#include "binding/crypto.h"
#include "binding/explain.h"
#include "kernel/captures.h"

namespace weft::binding {
namespace {

/// A callback that worker threads may complete once: it runs on the main thread with the status's
/// message ("" when ok).
proxy::Engine::Done onceOnMainThread(Napi::Env env, const Napi::Function& callback) {
  auto tsfn = Napi::ThreadSafeFunction::New(env, callback, "weft", 0, 1);
  return [tsfn](const Status& status) {
    auto* text = new std::string(status.message());
    // Queue full cannot be (it has no bound); closing means that the process ends.
    if (tsfn.NonBlockingCall(text, [](Napi::Env e, Napi::Function done, std::string* message) {
          if (e != nullptr) {
            done.Call({Napi::String::New(e, *message)});
          }
          delete message;
        }) != napi_ok) {
      delete text;
    }
    Napi::ThreadSafeFunction(tsfn).Release();
  };
}

/// The same for a value that `convert` makes a JavaScript value of, there.
template <typename T>
std::function<void(T)> valueOnMainThread(Napi::Env env, const Napi::Function& callback,
                                         Napi::Value (*convert)(Napi::Env, T&)) {
  auto tsfn = Napi::ThreadSafeFunction::New(env, callback, "weft", 0, 1);
  return [tsfn, convert](T value) {
    auto* kept = new T(std::move(value));
    if (tsfn.NonBlockingCall(kept, [convert](Napi::Env e, Napi::Function done, T* all) {
          if (e != nullptr) {
            done.Call({convert(e, *all)});
          }
          delete all;
        }) != napi_ok) {
      delete kept;
    }
    Napi::ThreadSafeFunction(tsfn).Release();
  };
}

Napi::Value bytesValue(Napi::Env env, std::string& bytes) {
  return Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(bytes.data()),
                                     bytes.size());
}

Napi::Value numberValue(Napi::Env env, size_t& number) {
  return Napi::Number::New(env, static_cast<double>(number));
}

/// Descriptors by port, which are JavaScript's to close.
Napi::Value listenersValue(Napi::Env env, proxy::Listeners& listeners) {
  Napi::Object out = Napi::Object::New(env);
  for (auto& [port, fd] : listeners) {
    out.Set(port, Napi::Number::New(env, fd.release()));
  }
  return out;
}

/// Duplicates of descriptors by port.
Result<proxy::Listeners> listenersOf(const Napi::Value& value) {
  proxy::Listeners out;
  if (!value.IsObject()) {
    return out;
  }
  const auto from = value.As<Napi::Object>();
  const Napi::Array ports = from.GetPropertyNames();
  for (uint32_t i = 0; i < ports.Length(); i++) {
    const Napi::Value port = ports[i];
    UniqueFd copy(::fcntl(from.Get(port).ToNumber().Int32Value(), F_DUPFD_CLOEXEC, 0));
    if (!copy) {
      return Status{Code::kInvalid, "a listener is no open descriptor"};
    }
    out.emplace(static_cast<uint16_t>(port.ToNumber().Uint32Value()), std::move(copy));
  }
  return out;
}

/// Nothing where no place for pins is given.
std::unique_ptr<io::Captures> capturesOf(const Napi::Value& pins) {
  return pins.IsString() ? std::make_unique<kernel::KernelCaptures>(pins.ToString().Utf8Value())
                         : nullptr;
}

}  // namespace

Napi::Function JsEngine::define(Napi::Env env) {
  return DefineClass(
      env, "Engine",
      {InstanceMethod("apply", &JsEngine::apply),
       InstanceMethod("setIdentity", &JsEngine::setIdentity),
       InstanceMethod("removeIdentity", &JsEngine::removeIdentity),
       InstanceMethod("setDenyList", &JsEngine::setDenyList),
       InstanceMethod("snapshot", &JsEngine::snapshot),
       InstanceMethod("explain", &JsEngine::explain), InstanceMethod("addPod", &JsEngine::addPod),
       InstanceMethod("removePod", &JsEngine::removePod),
       InstanceMethod("captureStats", &JsEngine::captureStats),
       InstanceMethod("cryptoStats", &JsEngine::cryptoStats),
       InstanceMethod("counters", &JsEngine::counters),
       InstanceMethod("listeners", &JsEngine::listeners),
       InstanceMethod("takeOver", &JsEngine::takeOver),
       InstanceMethod("releaseDirect", &JsEngine::releaseDirect),
       InstanceMethod("directChanged", &JsEngine::directChanged),
       InstanceMethod("drain", &JsEngine::drain), InstanceMethod("stop", &JsEngine::stop)});
}

JsEngine::JsEngine(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  Result<proxy::Settings> settings = settingsOf(info[0]);
  if (!settings.ok() || !info[1].IsFunction()) {
    throwStatus(info.Env(), settings.ok() ? Status{Code::kInvalid, "onEvents must be a function"}
                                          : settings.status());
    return;
  }
  // The object lives until the last queued call ran, so that such a call may use it.
  Ref();
  onEvents_ = Napi::ThreadSafeFunction::New(info.Env(), info[1].As<Napi::Function>(), "weft-events",
                                            0, 1, [this](Napi::Env) { Unref(); });
  const auto onEvents = [this] {
    onEvents_.NonBlockingCall([this](Napi::Env env, Napi::Function callback) {
      if (env != nullptr && engine_ != nullptr) {
        deliver(env, callback);
      }
    });
  };
  engine_ = std::make_unique<proxy::Engine>(std::move(settings).value(), onEvents,
                                            capturesOf(info[0].ToObject().Get("bpfPins")));
}

void JsEngine::deliver(Napi::Env env, Napi::Function callback) {
  const std::string batch = engine_->takeEvents();
  if (!batch.empty()) {
    callback.Call({Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(batch.data()),
                                               batch.size())});
  }
}

proxy::Engine* JsEngine::engineOrThrow(Napi::Env env) {
  if (engine_ == nullptr) {
    throwStatus(env, {Code::kInternal, "the engine was stopped"});
  }
  return engine_.get();
}

void JsEngine::apply(const Napi::CallbackInfo& info) {
  proxy::Engine* engine = engineOrThrow(info.Env());
  const Result<std::span<uint8_t>> delta = bytesOf(info[0]);
  if (engine == nullptr) {
    return;
  }
  const Status status = delta.ok() ? engine->apply(delta.value()) : delta.status();
  if (!status.ok()) {
    throwStatus(info.Env(), status);
  }
}

void JsEngine::setIdentity(const Napi::CallbackInfo& info) {
  proxy::Engine* engine = engineOrThrow(info.Env());
  if (engine == nullptr) {
    return;
  }
  Result<tls::IdentityMaterial> material = identityOf(info[0]);
  if (!material.ok()) {
    throwStatus(info.Env(), material.status());
    return;
  }
  auto identity = tls::Identity::create(std::move(material).value());
  if (!identity.ok()) {
    throwStatus(info.Env(), identity.status());
    return;
  }
  engine->setIdentity(std::move(identity).value());
}

void JsEngine::removeIdentity(const Napi::CallbackInfo& info) {
  if (proxy::Engine* engine = engineOrThrow(info.Env())) {
    engine->removeIdentity(info[0].ToString().Utf8Value());
  }
}

void JsEngine::setDenyList(const Napi::CallbackInfo& info) {
  proxy::Engine* engine = engineOrThrow(info.Env());
  if (engine == nullptr) {
    return;
  }
  const auto identities = stringListOf(info[0]);
  const auto serials = stringListOf(info[1]);
  if (!identities.ok() || !serials.ok()) {
    throwStatus(info.Env(), identities.ok() ? serials.status() : identities.status());
    return;
  }
  engine->setDenyList(identities.value(), serials.value());
}

void JsEngine::snapshot(const Napi::CallbackInfo& info) {
  if (proxy::Engine* engine = engineOrThrow(info.Env())) {
    engine->snapshot(
        valueOnMainThread<std::string>(info.Env(), info[0].As<Napi::Function>(), bytesValue));
  }
}

Napi::Value JsEngine::explain(const Napi::CallbackInfo& info) {
  const proxy::Engine* engine = engineOrThrow(info.Env());
  if (engine == nullptr) {
    return info.Env().Undefined();
  }
  const auto ip = Ip::parse(info[1].ToString().Utf8Value());
  const uint32_t port = info[2].ToNumber().Uint32Value();
  if (!ip.has_value() || port == 0 || port > UINT16_MAX) {
    throwStatus(info.Env(), {Code::kInvalid, "the destination is no IP address with a port"});
    return info.Env().Undefined();
  }
  const auto explanation =
      engine->explain(info[0].ToString().Utf8Value(), {*ip, static_cast<uint16_t>(port)});
  if (!explanation.ok()) {
    throwStatus(info.Env(), explanation.status());
    return info.Env().Undefined();
  }
  return explanationOf(info.Env(), explanation.value());
}

void JsEngine::addPod(const Napi::CallbackInfo& info) {
  proxy::Engine* engine = engineOrThrow(info.Env());
  if (engine == nullptr) {
    return;
  }
  Result<proxy::PodSpec> spec = podSpecOf(info[0]);
  if (!spec.ok() || !info[1].IsFunction()) {
    throwStatus(info.Env(),
                spec.ok() ? Status{Code::kInvalid, "a callback is expected"} : spec.status());
    return;
  }
  const int given = info[0].As<Napi::Object>().Get("netns").ToNumber().Int32Value();
  const UniqueFd netns(::fcntl(given, F_DUPFD_CLOEXEC, 0));
  if (!netns) {
    throwStatus(info.Env(), {Code::kInvalid, "netns is no open descriptor"});
    return;
  }
  Result<proxy::Listeners> inherited = listenersOf(info[0].As<Napi::Object>().Get("listeners"));
  if (!inherited.ok()) {
    throwStatus(info.Env(), inherited.status());
    return;
  }
  engine->addPod(std::move(spec).value(), netns,
                 onceOnMainThread(info.Env(), info[1].As<Napi::Function>()),
                 std::move(inherited).value());
}

void JsEngine::removePod(const Napi::CallbackInfo& info) {
  if (proxy::Engine* engine = engineOrThrow(info.Env())) {
    engine->removePod(info[0].ToString().Utf8Value(),
                      onceOnMainThread(info.Env(), info[1].As<Napi::Function>()));
  }
}

Napi::Value JsEngine::captureStats(const Napi::CallbackInfo& info) {
  proxy::Engine* engine = engineOrThrow(info.Env());
  if (engine == nullptr) {
    return info.Env().Undefined();
  }
  const io::CaptureStats stats = engine->captureStats();
  Napi::Object counters = Napi::Object::New(info.Env());
  for (const auto& [name, value] : stats.counters) {
    counters.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
  }
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("kernelPods", static_cast<double>(stats.pods));
  out.Set("counters", counters);
  out.Set("directSlots", static_cast<double>(stats.directSlots));
  Napi::Array refused = Napi::Array::New(info.Env());
  for (const std::string& gate : stats.sockmapRefused) {
    refused[refused.Length()] = Napi::String::New(info.Env(), gate);
  }
  out.Set("sockmapRefused", refused);
  return out;
}

Napi::Value JsEngine::cryptoStats(const Napi::CallbackInfo& info) {
  proxy::Engine* engine = engineOrThrow(info.Env());
  if (engine == nullptr) {
    return info.Env().Undefined();
  }
  return cryptoStatsOf(info.Env(), engine->cryptoMode(), engine->handshakeTotals());
}

Napi::Value JsEngine::counters(const Napi::CallbackInfo& info) {
  proxy::Engine* engine = engineOrThrow(info.Env());
  if (engine == nullptr) {
    return info.Env().Undefined();
  }
  // JavaScript reads the workers' memory itself; the hint keeps it there for as long as that.
  auto* keep = new std::shared_ptr<CounterTable>(engine->counters());
  const auto cells = (*keep)->cells();
  return Napi::ArrayBuffer::New(
      info.Env(), cells.data(), cells.size_bytes(),
      [](Napi::Env, void*, std::shared_ptr<CounterTable>* kept) { delete kept; }, keep);
}

void JsEngine::listeners(const Napi::CallbackInfo& info) {
  if (proxy::Engine* engine = engineOrThrow(info.Env())) {
    // std::function must be copyable, descriptors are not: they travel shared.
    auto told = valueOnMainThread<std::shared_ptr<proxy::Listeners>>(
        info.Env(), info[1].As<Napi::Function>(),
        [](Napi::Env env, std::shared_ptr<proxy::Listeners>& all) {
          return listenersValue(env, *all);
        });
    engine->listeners(info[0].ToString().Utf8Value(), [told](proxy::Listeners all) {
      told(std::make_shared<proxy::Listeners>(std::move(all)));
    });
  }
}

void JsEngine::takeOver(const Napi::CallbackInfo& info) {
  if (proxy::Engine* engine = engineOrThrow(info.Env())) {
    engine->takeOver();
  }
}

void JsEngine::releaseDirect(const Napi::CallbackInfo& info) {
  if (proxy::Engine* engine = engineOrThrow(info.Env())) {
    engine->releaseDirect();
  }
}

void JsEngine::directChanged(const Napi::CallbackInfo& info) {
  if (proxy::Engine* engine = engineOrThrow(info.Env())) {
    engine->directChanged();
  }
}

void JsEngine::drain(const Napi::CallbackInfo& info) {
  if (proxy::Engine* engine = engineOrThrow(info.Env())) {
    const auto deadlineMs = static_cast<uint64_t>(info[0].ToNumber().Int64Value());
    engine->drain(deadlineMs,
                  valueOnMainThread<size_t>(info.Env(), info[1].As<Napi::Function>(), numberValue));
  }
}

void JsEngine::stop(const Napi::CallbackInfo&) {
  if (engine_ != nullptr) {
    engine_.reset();
    onEvents_.Release();
  }
}

}  // namespace weft::binding
