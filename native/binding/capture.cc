// SPDX-License-Identifier: Apache-2.0
#include "binding/capture.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "binding/convert.h"
#include "io/netns.h"
#include "kernel/node_capture.h"

namespace weft::binding {
namespace {

std::string textOf(const Napi::Object& from, const char* name) {
  return from.Get(name).IsString() ? from.Get(name).ToString().Utf8Value() : "";
}

/// Those of our parts that are in a list of names.
std::vector<kernel::Part> partsOf(const Napi::Value& value) {
  std::vector<kernel::Part> all;
  const Result<std::vector<std::string>> names = stringListOf(value);
  for (size_t i = 0; names.ok() && i < kernel::kPartNames.size(); i++) {
    const std::vector<std::string>& given = names.value();
    if (std::find(given.begin(), given.end(), kernel::kPartNames[i]) != given.end()) {
      all.push_back(static_cast<kernel::Part>(i));
    }
  }
  return all;
}

kernel::NodeCaptureOptions optionsOf(const Napi::Value& value) {
  const Napi::Object given = value.ToObject();
  return {textOf(given, "pins"),
          textOf(given, "cgroup"),
          textOf(given, "proxyCgroup"),
          textOf(given, "probeCgroup"),
          textOf(given, "whenProxyDown") == "pass",
          partsOf(given.Get("without"))};
}

/// Where it enters the namespace no JavaScript runs.
Result<uint64_t> cookieOf(int netns) {
  std::optional<Result<uint64_t>> cookie;
  std::thread([&] { cookie.emplace(io::netnsCookie(netns)); }).join();
  return std::move(*cookie);
}

Result<std::vector<Ip>> addressesOf(const Napi::Value& value) {
  const Result<std::vector<std::string>> texts = stringListOf(value);
  if (!texts.ok()) {
    return texts.status();
  }
  std::vector<Ip> all;
  for (const std::string& text : texts.value()) {
    const std::optional<Ip> ip = Ip::parse(text);
    if (!ip.has_value()) {
      return Status{Code::kInvalid, text + " is no address"};
    }
    all.push_back(*ip);
  }
  return all;
}

class JsNodeCapture : public Napi::ObjectWrap<JsNodeCapture> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NodeCapture",
                       {StaticMethod("uninstall", &JsNodeCapture::uninstall),
                        InstanceMethod("configure", &JsNodeCapture::configure),
                        InstanceMethod("enrol", &JsNodeCapture::enrol),
                        InstanceMethod("addresses", &JsNodeCapture::addresses),
                        InstanceMethod("release", &JsNodeCapture::release),
                        InstanceMethod("refuseSockmap", &JsNodeCapture::refuseSockmap),
                        InstanceMethod("parts", &JsNodeCapture::parts),
                        InstanceMethod("counters", &JsNodeCapture::counters)});
  }

  explicit JsNodeCapture(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    Result<std::unique_ptr<kernel::NodeCapture>> opened =
        kernel::NodeCapture::open(optionsOf(info[0]));
    if (opened.ok()) {
      node_ = std::move(opened).value();
    } else {
      throwStatus(info.Env(), opened.status());
    }
  }

 private:
  static void uninstall(const Napi::CallbackInfo& info) {
    throwUnlessOk(info.Env(), kernel::NodeCapture::uninstall(info[0].ToString().Utf8Value()));
  }

  static void throwUnlessOk(Napi::Env env, const Status& status) {
    if (!status.ok()) {
      throwStatus(env, status);
    }
  }

  void configure(const Napi::CallbackInfo& info) {
    throwUnlessOk(info.Env(), node_->configure(optionsOf(info[0])));
  }

  void enrol(const Napi::CallbackInfo& info) {
    const int netns = info[0].ToNumber().Int32Value();
    const Result<uint64_t> cookie = cookieOf(netns);
    const Result<std::vector<Ip>> addresses = addressesOf(info[1]);
    const Status status = !cookie.ok() ? cookie.status()
                          : !addresses.ok()
                              ? addresses.status()
                              : node_->enrol(netns, cookie.value(), addresses.value(),
                                             info[2].ToBoolean(), info[3].ToBoolean());
    throwUnlessOk(info.Env(), status);
  }

  Napi::Value addresses(const Napi::CallbackInfo& info) {
    auto out = Napi::Array::New(info.Env());
    const Result<uint64_t> cookie = cookieOf(info[0].ToNumber().Int32Value());
    if (!cookie.ok()) {
      throwStatus(info.Env(), cookie.status());
      return out;
    }
    for (const Ip& ip : node_->addresses(cookie.value())) {
      out[out.Length()] = Napi::String::New(info.Env(), ip.toString());
    }
    return out;
  }

  void release(const Napi::CallbackInfo& info) {
    const Result<uint64_t> cookie = cookieOf(info[0].ToNumber().Int32Value());
    throwUnlessOk(info.Env(), cookie.ok() ? node_->release(cookie.value()) : cookie.status());
  }

  void refuseSockmap(const Napi::CallbackInfo& info) {
    throwUnlessOk(info.Env(), node_->refuseSockmap(info[0].ToNumber().Uint32Value()));
  }

  Napi::Value parts(const Napi::CallbackInfo& info) {
    auto out = Napi::Array::New(info.Env());
    for (const kernel::PartStatus& each : node_->parts()) {
      auto part = Napi::Object::New(info.Env());
      part.Set("name", kernel::kPartNames[static_cast<size_t>(each.part)]);
      part.Set("works", each.status.ok());
      part.Set("reason", each.status.message());
      out[out.Length()] = part;
    }
    return out;
  }

  Napi::Value counters(const Napi::CallbackInfo& info) {
    auto out = Napi::Object::New(info.Env());
    for (const auto& [name, value] : node_->counters()) {
      out.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
    }
    return out;
  }

  std::unique_ptr<kernel::NodeCapture> node_;
};

}  // namespace

void defineCapture(Napi::Env env, Napi::Object exports) {
  exports.Set("NodeCapture", JsNodeCapture::define(env));
}

}  // namespace weft::binding
