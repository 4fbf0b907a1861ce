// SPDX-License-Identifier: Apache-2.0
#include "binding/explain.h"

namespace weft::binding {
namespace {

const char* nameOf(proxy::Route::Kind kind) {
  switch (kind) {
    case proxy::Route::Kind::kTunnel:
      return "tunnel";
    case proxy::Route::Kind::kPassthrough:
      return "passthrough";
    case proxy::Route::Kind::kRefuse:
      return "refused";
  }
  return "refused";
}

Napi::Object verdictOf(Napi::Env env, const proxy::Verdict& verdict) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("allowed", verdict.allowed);
  out.Set("policy", verdict.policy);
  out.Set("rule", verdict.rule);
  out.Set("reason", verdict.reason);
  return out;
}

Napi::Object endpointOf(Napi::Env env, const proxy::Explanation::Endpoint& endpoint) {
  const proxy::Route& route = endpoint.route;
  Napi::Object out = Napi::Object::New(env);
  out.Set("path", endpoint.direct ? "direct" : nameOf(route.kind));
  out.Set("why", route.detail);
  if (route.kind != proxy::Route::Kind::kRefuse) {
    out.Set("target", route.target.toString());
  }
  if (route.workload != nullptr) {
    out.Set("workload", route.workload->uid);
  }
  if (route.kind == proxy::Route::Kind::kTunnel && !endpoint.direct) {
    out.Set("tunnel", route.tunnel.toString());
  }
  Napi::Array expected = Napi::Array::New(env);
  for (const tls::SpiffeId& id : route.expected) {
    expected.Set(expected.Length(), id.text);
  }
  out.Set("expectedIdentities", expected);
  if (endpoint.checked) {
    out.Set("verdict", verdictOf(env, endpoint.verdict));
  }
  return out;
}

}  // namespace

Napi::Object explanationOf(Napi::Env env, const proxy::Explanation& explanation) {
  Napi::Object out = Napi::Object::New(env);
  const bool direct = !explanation.endpoints.empty() && explanation.endpoints.front().direct;
  out.Set("path", direct ? "direct" : nameOf(explanation.path));
  out.Set("why", explanation.why);
  out.Set("captured", explanation.captured);
  out.Set("sourceIdentity", explanation.sourceIdentity);
  if (!explanation.service.empty()) {
    out.Set("service", explanation.service);
  }
  Napi::Array endpoints = Napi::Array::New(env);
  for (const proxy::Explanation::Endpoint& endpoint : explanation.endpoints) {
    endpoints.Set(endpoints.Length(), endpointOf(env, endpoint));
  }
  out.Set("endpoints", endpoints);
  out.Set("endpointsTotal", static_cast<double>(explanation.endpointsTotal));
  return out;
}

}  // namespace weft::binding
