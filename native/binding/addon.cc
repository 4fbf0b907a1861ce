// SPDX-License-Identifier: Apache-2.0
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <napi.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/counters.h"
#include "base/resident.h"
#include "base/self_check.h"
#include "binding/capture.h"
#include "binding/convert.h"
#include "binding/crypto.h"
#include "binding/engine.h"
#include "binding/pod_socket.h"
#include "binding/probe.h"
#include "binding/seqpacket.h"
#include "binding/sockmap.h"
#include "io/netns.h"

namespace weft::binding {
namespace {

Status checkVendored() {
  const NamedSymbol symbols[] = {
      {"SSL_new", reinterpret_cast<const void*>(&SSL_new)},
      {"EVP_sha256", reinterpret_cast<const void*>(&EVP_sha256)},
      {"nghttp2_version", reinterpret_cast<const void*>(&nghttp2_version)},
      {"libbpf_version_string", reinterpret_cast<const void*>(&libbpf_version_string)},
  };
  return checkOwnSymbols(reinterpret_cast<const void*>(&checkVendored), symbols);
}

Napi::Value versions(const Napi::CallbackInfo& info) {
  auto out = Napi::Object::New(info.Env());
  out.Set("tls", OpenSSL_version(OPENSSL_VERSION));
  out.Set("nghttp2", nghttp2_version(0)->version_str);
  out.Set("libbpf", libbpf_version_string());
  return out;
}

Napi::Value counterNames(const Napi::CallbackInfo& info) {
  auto out = Napi::Array::New(info.Env(), kCounterCount);
  for (uint32_t i = 0; i < kCounterCount; i++) {
    out.Set(i, kCounterNames[i]);
  }
  return out;
}

Napi::Value openPath(const Napi::CallbackInfo& info) {
  const std::string path = info[0].ToString().Utf8Value();
  // A pipe at the path must not make the main thread wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    const Status why = Status::fromErrno(("open " + path).c_str(), errno);
    throwStatus(info.Env(), {Code::kUnavailable, why.message()});
    return info.Env().Undefined();
  }
  return Napi::Number::New(info.Env(), fd);
}

void closeFd(const Napi::CallbackInfo& info) {
  const int fd = info[0].ToNumber().Int32Value();
  if (fd > STDERR_FILENO) {
    ::close(fd);
  }
}

Napi::Value releaseStartPages(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(weft::releaseStartPages()));
}

Napi::Value isNetns(const Napi::CallbackInfo& info) {
  const int fd = info[0].ToNumber().Int32Value();
  return Napi::Boolean::New(info.Env(), io::checkNetns(fd).ok());
}

Napi::Value peerUser(const Napi::CallbackInfo& info) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(info[0].ToNumber().Int32Value(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    throwStatus(info.Env(), Status::fromErrno("SO_PEERCRED", errno));
    return info.Env().Undefined();
  }
  return Napi::Number::New(info.Env(), peer.uid);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  if (const Status own = checkVendored(); !own.ok()) {
    throwStatus(env, own);
    return exports;
  }
  exports.Set("versions", Napi::Function::New(env, versions));
  exports.Set("counterNames", Napi::Function::New(env, counterNames));
  exports.Set("probeCrypto", Napi::Function::New(env, probeCrypto));
  exports.Set("openPath", Napi::Function::New(env, openPath));
  exports.Set("closeFd", Napi::Function::New(env, closeFd));
  exports.Set("releaseStartPages", Napi::Function::New(env, releaseStartPages));
  exports.Set("isNetns", Napi::Function::New(env, isNetns));
  exports.Set("peerUser", Napi::Function::New(env, peerUser));
  exports.Set("Engine", JsEngine::define(env));
  defineSockmap(env, exports);
  defineCapture(env, exports);
  definePodSocket(env, exports);
  defineProbe(env, exports);
  defineSeqpacket(env, exports);
  return exports;
}

}  // namespace
}  // namespace weft::binding

static Napi::Object initAddon(Napi::Env env, Napi::Object exports) {
  return weft::binding::init(env, exports);
}
NODE_API_MODULE(weft, initAddon)
