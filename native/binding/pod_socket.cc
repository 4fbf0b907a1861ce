// SPDX-License-Identifier: Apache-2.0
#include "binding/pod_socket.h"

#include <optional>
#include <string>

#include "binding/convert.h"
#include "io/pod_socket.h"

namespace weft::binding {
namespace {

Result<UniqueFd> make(const std::string& kind, int netns, const Endpoint& at, uint32_t mark) {
  if (kind == "udp") {
    return io::openPodUdp(netns, at, mark);
  }
  if (kind == "listen") {
    return io::listenPodTcp(netns, at, mark);
  }
  if (kind == "connect") {
    return io::connectPodTcp(netns, at, mark);
  }
  return Status{Code::kInvalid, "no such kind of socket"};
}

Napi::Value podSocket(const Napi::CallbackInfo& info) {
  const std::optional<Ip> ip = Ip::parse(info[2].ToString().Utf8Value());
  const uint32_t port = info[3].ToNumber().Uint32Value();
  if (!ip.has_value() || port > UINT16_MAX) {
    throwStatus(info.Env(), {Code::kInvalid, "not an address and a port"});
    return info.Env().Undefined();
  }
  Result<UniqueFd> made =
      make(info[0].ToString().Utf8Value(), info[1].ToNumber().Int32Value(),
           {*ip, static_cast<uint16_t>(port)}, info[4].ToNumber().Uint32Value());
  if (!made.ok()) {
    throwStatus(info.Env(), made.status());
    return info.Env().Undefined();
  }
  return Napi::Number::New(info.Env(), made.value().release());
}

void keepPort(const Napi::CallbackInfo& info) {
  if (Status s = io::keepPort(info[0].ToNumber().Int32Value()); !s.ok()) {
    throwStatus(info.Env(), s);
  }
}

}  // namespace

void definePodSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("podSocket", Napi::Function::New(env, podSocket));
  exports.Set("keepPort", Napi::Function::New(env, keepPort));
}

}  // namespace weft::binding
