// SPDX-License-Identifier: Apache-2.0
#include "binding/pod_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

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

/// (fd, netns, isListener, address, port): throws unless it is the pod's socket there.
void checkPodSocket(const Napi::CallbackInfo& info) {
  const std::optional<Endpoint> local = endpointOf(info[3], info[4]);
  if (!local.has_value()) {
    return;
  }
  const int type = info[2].ToBoolean() ? SOCK_STREAM : SOCK_DGRAM;
  const Status status = io::checkPodSocket(info[0].ToNumber().Int32Value(),
                                           info[1].ToNumber().Int32Value(), type, *local);
  if (!status.ok()) {
    throwStatus(info.Env(), status);
  }
}

void unshare(const Napi::CallbackInfo& info) {
  if (const Status status = io::unshare(info[0].ToNumber().Int32Value()); !status.ok()) {
    throwStatus(info.Env(), status);
  }
}

/// A duplicate that is the caller's.
Napi::Value duplicate(const Napi::CallbackInfo& info) {
  const int copy = ::fcntl(info[0].ToNumber().Int32Value(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) {
    throwStatus(info.Env(), Status::fromErrno("dup", errno));
    return info.Env().Undefined();
  }
  return Napi::Number::New(info.Env(), copy);
}

void sendFrames(const Napi::CallbackInfo& info) {
  const auto given = info[1].As<Napi::Array>();
  std::vector<io::PodFrame> frames;
  for (uint32_t i = 0; i < given.Length(); i++) {
    const Napi::Object frame = given.Get(i).ToObject();
    const auto bytes = frame.Get("bytes").As<Napi::Uint8Array>();
    const auto* from = reinterpret_cast<const std::byte*>(bytes.Data());
    frames.push_back({frame.Get("device").ToString().Utf8Value(), {from, bytes.ByteLength()}});
  }
  if (Status s = io::sendPodFrames(info[0].ToNumber().Int32Value(), frames); !s.ok()) {
    throwStatus(info.Env(), s);
  }
}

}  // namespace

void definePodSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("podSocket", Napi::Function::New(env, podSocket));
  exports.Set("bindAlone", Napi::Function::New(env, bindAlone));
  exports.Set("checkPodSocket", Napi::Function::New(env, checkPodSocket));
  exports.Set("unshare", Napi::Function::New(env, unshare));
  exports.Set("duplicate", Napi::Function::New(env, duplicate));
  exports.Set("sendFrames", Napi::Function::New(env, sendFrames));
}

}  // namespace weft::binding
