// SPDX-License-Identifier: Apache-2.0
#include "binding/convert.h"

#include <openssl/mem.h>

#include <algorithm>
#include <thread>

namespace weft::binding {
namespace {

constexpr size_t kWorkersMax = 64;

Status wrong(const std::string& what) {
  return {Code::kInvalid, what};
}

Status readString(const Napi::Object& from, const char* name, std::string& into) {
  const Napi::Value value = from.Get(name);
  if (!value.IsString()) {
    return wrong(std::string(name) + " must be a string");
  }
  into = value.As<Napi::String>().Utf8Value();
  return {};
}

/// Leaves `into` alone when the setting is absent.
template <typename T>
Status readNumber(const Napi::Object& from, const char* name, double max, T& into) {
  const Napi::Value value = from.Get(name);
  if (value.IsUndefined()) {
    return {};
  }
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= max)) {
    return wrong(std::string(name) + " must be a number from 0 to " +
                 std::to_string(static_cast<uint64_t>(max)));
  }
  into = static_cast<T>(number);
  return {};
}

/// `second` says which of two names was given; absent means the first one.
Status readChoice(const Napi::Object& from, const char* name, const char* firstName,
                  const char* secondName, bool& second) {
  const Napi::Value value = from.Get(name);
  if (value.IsUndefined()) {
    return {};
  }
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (text != firstName && text != secondName) {
    return wrong(std::string(name) + " must be " + firstName + " or " + secondName);
  }
  second = text == secondName;
  return {};
}

/// How handshakes compute: absent is for crypto::chooseMode() to say.
Status readCrypto(const Napi::Object& from, std::optional<crypto::Mode>& into) {
  const Napi::Value value = from.Get("crypto");
  if (!value.IsUndefined()) {
    into = value.IsString() ? crypto::modeOf(value.As<Napi::String>().Utf8Value()) : std::nullopt;
    if (!into) {
      return wrong("crypto must be off, scalar or avx512");
    }
  }
  return crypto::chooseMode(into).status();
}

/// Absent limits stay as they are. A limit of nothing refuses everything.
Status readLimits(const Napi::Value& value, proxy::Limits& into) {
  if (value.IsUndefined()) {
    return {};
  }
  if (!value.IsObject()) {
    return wrong("limits must be an object");
  }
  const auto from = value.As<Napi::Object>();
  constexpr double kMany = 1 << 30;
  constexpr double kBytes = 1ULL << 50;
  const Status read[] = {
      readNumber(from, "connectionsPerPod", kMany, into.connectionsPerPod),
      readNumber(from, "heldPerPod", kMany, into.heldPerPod),
      readNumber(from, "handshakesPerPod", kMany, into.handshakesPerPod),
      readNumber(from, "handshakesPerSource", kMany, into.handshakesPerSource),
      readNumber(from, "tunnelsPerSource", kMany, into.tunnelsPerSource),
      readNumber(from, "tunnelsPerPeer", kMany, into.tunnelsPerPeer),
      readNumber(from, "busyTunnelsPerPeer", kMany, into.busyTunnelsPerPeer),
      readNumber(from, "streamsPerTunnel", kMany, into.streamsPerTunnel),
      readNumber(from, "bytesPerPod", kBytes, into.bytesPerPod),
      readNumber(from, "bytesPerNode", kBytes, into.bytesPerNode),
      readNumber(from, "passthroughBytes", kMany, into.passthroughBytes),
      readNumber(from, "eventQueueBytes", kMany, into.eventQueueBytes),
      readNumber(from, "verifiedLeaves", kMany, into.verifiedLeaves),
      readNumber(from, "resumableSessions", kMany, into.resumableSessions),
      readNumber(from, "resumablePerPeer", kMany, into.resumablePerPeer),
      readNumber(from, "handshakeFibers", kMany, into.handshakeFibers),
  };
  for (const Status& status : read) {
    if (!status.ok()) {
      return status;
    }
  }
  if (into.passthroughBytes < proxy::kPassthroughBytesMin) {
    return wrong("passthroughBytes must be at least " +
                 std::to_string(proxy::kPassthroughBytesMin));
  }
  return {};
}

Result<std::vector<std::vector<uint8_t>>> byteListOf(const Napi::Value& value) {
  if (!value.IsArray()) {
    return wrong("a list of byte arrays is expected");
  }
  const auto list = value.As<Napi::Array>();
  std::vector<std::vector<uint8_t>> out;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Result<std::span<uint8_t>> bytes = bytesOf(list.Get(i));
    if (!bytes.ok()) {
      return bytes.status();
    }
    out.emplace_back(bytes.value().begin(), bytes.value().end());
  }
  return out;
}

/// Absent means all.
Status readLogLines(const Napi::Object& from, proxy::LogLines& into) {
  const Napi::Value value = from.Get("lines");
  if (value.IsUndefined()) {
    return {};
  }
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  for (const auto& [name, lines] :
       {std::pair{"on", proxy::LogLines::kAll}, std::pair{"failed", proxy::LogLines::kFailed},
        std::pair{"off", proxy::LogLines::kNone}}) {
    if (text == name) {
      into = lines;
      return {};
    }
  }
  return wrong("accessLog.lines must be on, failed or off");
}

/// Absent, each event is told by itself.
Status readAccessLog(const Napi::Value& value, proxy::Settings& into) {
  if (value.IsUndefined()) {
    return {};
  }
  if (!value.IsObject()) {
    return wrong("accessLog must be an object");
  }
  const auto from = value.As<Napi::Object>();
  if (!from.Get("opened").IsBoolean()) {
    return wrong("accessLog.opened must be a boolean");
  }
  into.reports = proxy::Reports::kSummary;
  into.logOpened = from.Get("opened").As<Napi::Boolean>().Value();
  const Status lines = readLogLines(from, into.logLines);
  return lines.ok() ? readString(from, "process", into.logName) : lines;
}

}  // namespace

Result<std::span<uint8_t>> bytesOf(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return wrong("a Uint8Array is expected");
  }
  auto array = value.As<Napi::Uint8Array>();
  return std::span<uint8_t>(array.Data(), array.ByteLength());
}

Result<std::vector<std::string>> stringListOf(const Napi::Value& value) {
  if (!value.IsArray()) {
    return wrong("a list of strings is expected");
  }
  const auto list = value.As<Napi::Array>();
  std::vector<std::string> out;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value one = list.Get(i);
    if (!one.IsString()) {
      return wrong("a list of strings is expected");
    }
    out.push_back(one.As<Napi::String>().Utf8Value());
  }
  return out;
}

Result<proxy::Settings> settingsOf(const Napi::Value& value) {
  if (!value.IsObject()) {
    return wrong("the engine's options must be an object");
  }
  const auto from = value.As<Napi::Object>();
  proxy::Settings out;
  out.workers = std::max(1U, std::thread::hardware_concurrency() / 2);
  constexpr double kDayMs = 86400000;
  const Status read[] = {
      readCrypto(from, out.crypto),
      readNumber(from, "workers", static_cast<double>(kWorkersMax), out.workers),
      readNumber(from, "mark", UINT32_MAX, out.mark),
      readNumber(from, "busyPollMicros", static_cast<double>(proxy::kBusyPollMicrosMax),
                 out.busyPollMicros),
      readNumber(from, "connectTimeoutMs", kDayMs, out.connectTimeoutMs),
      readNumber(from, "handshakeTimeoutMs", kDayMs, out.handshakeTimeoutMs),
      readNumber(from, "identityTimeoutMs", kDayMs, out.identityTimeoutMs),
      readNumber(from, "tunnelIdleMs", kDayMs, out.tunnelIdleMs),
      readNumber(from, "streamIdleMs", kDayMs, out.streamIdleMs),
      readNumber(from, "halfClosedIdleMs", kDayMs, out.halfClosedIdleMs),
      readNumber(from, "stalledMs", kDayMs, out.stalledMs),
      readNumber(from, "pingAfterMs", kDayMs, out.h2.pingAfterMs),
      readNumber(from, "deadAfterMs", kDayMs, out.h2.deadAfterMs),
      readLimits(from.Get("limits"), out.limits),
      readAccessLog(from.Get("accessLog"), out),
  };
  for (const Status& status : read) {
    if (!status.ok()) {
      return status;
    }
  }
  if (out.workers == 0) {
    return wrong("workers must be at least 1");
  }
  bool nghttp2 = false;
  bool library = false;
  bool tunnelled = false;
  const Status chosen[] = {
      readChoice(from, "outboundPolicy", "allowAny", "registryOnly", out.registryOnly),
      readChoice(from, "sameNode", "direct", "tunnel", tunnelled),
      readChoice(from, "h2Row", "own", "nghttp2", nghttp2),
      readChoice(from, "tlsRow", "record", "library", library),
  };
  for (const Status& status : chosen) {
    if (!status.ok()) {
      return status;
    }
  }
  out.h2Row = nghttp2 ? http::H2Row::kNgHttp2 : http::H2Row::kOwn;
  out.takesOver = from.Get("takesOver").ToBoolean();
  out.kernelCapture = from.Get("bpfPins").IsString();
  out.directPath = !tunnelled && out.kernelCapture;
  out.tlsRow = library ? tls::SessionRow::kLibrary : tls::SessionRow::kRecord;
  if (out.h2.deadAfterMs <= out.h2.pingAfterMs) {
    return wrong("deadAfterMs must be more than pingAfterMs");
  }
  for (const auto& [name, into] : {std::pair{"appCongestion", &out.appCongestion},
                                   std::pair{"tunnelCongestion", &out.tunnelCongestion}}) {
    if (from.Get(name).IsUndefined()) {
      continue;
    }
    if (Status s = readString(from, name, *into); !s.ok()) {
      return s;
    }
  }
  return out;
}

Result<proxy::PodSpec> podSpecOf(const Napi::Value& value) {
  if (!value.IsObject()) {
    return wrong("a pod must be an object");
  }
  const auto from = value.As<Napi::Object>();
  proxy::PodSpec out;
  const Status read[] = {readString(from, "uid", out.uid),
                         readString(from, "workloadUid", out.workloadUid),
                         readString(from, "spiffeId", out.spiffeId)};
  for (const Status& status : read) {
    if (!status.ok()) {
      return status;
    }
  }
  return out;
}

Result<tls::IdentityMaterial> identityOf(const Napi::Value& value) {
  if (!value.IsObject()) {
    return wrong("an identity must be an object");
  }
  const auto from = value.As<Napi::Object>();
  tls::IdentityMaterial out;
  Result<std::span<uint8_t>> key = bytesOf(from.Get("key"));
  if (!key.ok()) {
    return key.status();
  }
  out.keyPkcs8.assign(key.value().begin(), key.value().end());
  OPENSSL_cleanse(key.value().data(), key.value().size());
  auto chain = byteListOf(from.Get("chain"));
  auto roots = byteListOf(from.Get("roots"));
  Status status = readString(from, "spiffeId", out.spiffeId);
  if (!chain.ok() || !roots.ok() || !status.ok()) {
    OPENSSL_cleanse(out.keyPkcs8.data(), out.keyPkcs8.size());
    return !status.ok() ? status : chain.ok() ? roots.status() : chain.status();
  }
  out.chain = std::move(chain).value();
  out.roots = std::move(roots).value();
  return out;
}

void throwStatus(Napi::Env env, const Status& status) {
  Napi::Error error = Napi::Error::New(env, status.message());
  // kClosed is a state of a connection, not an error code that callers know.
  error.Set("code", Napi::String::New(env, status.code() == Code::kClosed ? "unavailable"
                                                                          : nameOf(status.code())));
  error.ThrowAsJavaScriptException();
}

}  // namespace weft::binding
