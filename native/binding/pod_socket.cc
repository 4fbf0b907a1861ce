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
  if (kind == "unbound udp") {
    return io::openPodUdpUnbound(netns, !at.ip.isV4(), mark);
  }
  if (kind == "listen") {
    return io::listenPodTcp(netns, at, mark);
  }
  if (kind == "connect") {
    return io::connectPodTcp(netns, at, mark);
  }
  return Status{Code::kInvalid, "no such kind of socket"};
}

/// Nothing, and an exception, when the values are none.
std::optional<Endpoint> endpointOf(Napi::Value address, Napi::Value number) {
  const std::optional<Ip> ip = Ip::parse(address.ToString().Utf8Value());
  const uint32_t port = number.ToNumber().Uint32Value();
  if (!ip.has_value() || port > UINT16_MAX) {
    throwStatus(address.Env(), {Code::kInvalid, "not an address and a port"});
    return std::nullopt;
  }
  return Endpoint{*ip, static_cast<uint16_t>(port)};
}

Napi::Value podSocket(const Napi::CallbackInfo& info) {
  const std::optional<Endpoint> at = endpointOf(info[2], info[3]);
  if (!at.has_value()) {
    return info.Env().Undefined();
  }
  Result<UniqueFd> made = make(info[0].ToString().Utf8Value(), info[1].ToNumber().Int32Value(), *at,
                               info[4].ToNumber().Uint32Value());
  if (!made.ok()) {
    throwStatus(info.Env(), made.status());
    return info.Env().Undefined();
  }
  return Napi::Number::New(info.Env(), made.value().release());
}

void bindAlone(const Napi::CallbackInfo& info) {
  const std::optional<Endpoint> local = endpointOf(info[1], info[2]);
  if (!local.has_value()) {
    return;
  }
  if (Status s = io::bindAlone(info[0].ToNumber().Int32Value(), *local); !s.ok()) {
    throwStatus(info.Env(), s);
  }
}

}  // namespace

void definePodSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("podSocket", Napi::Function::New(env, podSocket));
  exports.Set("bindAlone", Napi::Function::New(env, bindAlone));
}

}  // namespace weft::binding
