// SPDX-License-Identifier: Apache-2.0
#include "binding/crypto.h"

#include "base/clock.h"
#include "crypto/mode.h"

namespace weft::binding {
namespace {

using crypto::Operation;

/// 0 stands for never.
double breakEvenOf(Operation operation) {
  const uint8_t lanes = crypto::breakEvens(threadNanos).lanes[static_cast<size_t>(operation)];
  return lanes == crypto::BreakEvens::kNever ? 0 : lanes;
}

Napi::Object totalsOf(Napi::Env env, Operation operation,
                      std::span<const crypto::BatchTotals* const> workers) {
  std::array<uint64_t, crypto::kLanes> calls{};
  uint64_t scalar = 0;
  uint64_t laneNanoseconds = 0;
  uint64_t scalarNanoseconds = 0;
  for (const crypto::BatchTotals* worker : workers) {
    const auto& one = worker->operations[static_cast<size_t>(operation)];
    for (size_t i = 0; i < crypto::kLanes; i++) {
      calls[i] += one.calls[i].get();
    }
    scalar += one.scalar.get();
    laneNanoseconds += one.laneNanoseconds.get();
    scalarNanoseconds += one.scalarNanoseconds.get();
  }
  Napi::Array lanes = Napi::Array::New(env);
  for (const uint64_t count : calls) {
    lanes[lanes.Length()] = Napi::Number::New(env, static_cast<double>(count));
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("lanes", lanes);
  out.Set("scalar", static_cast<double>(scalar));
  out.Set("laneSeconds", static_cast<double>(laneNanoseconds) * 1e-9);
  out.Set("scalarSeconds", static_cast<double>(scalarNanoseconds) * 1e-9);
  return out;
}

}  // namespace

Napi::Object cryptoStatsOf(Napi::Env env, crypto::Mode mode,
                           std::span<const crypto::BatchTotals* const> workers) {
  Napi::Object operations = Napi::Object::New(env);
  for (size_t i = 0; i < crypto::kOperations; i++) {
    const auto operation = static_cast<Operation>(i);
    operations.Set(crypto::nameOf(operation), totalsOf(env, operation, workers));
  }
  uint64_t inlined = 0;
  uint64_t keyShares = 0;
  for (const crypto::BatchTotals* worker : workers) {
    inlined += worker->inlined.get();
    keyShares += worker->keyShares.get();
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("mode", crypto::nameOf(mode));
  out.Set("operations", operations);
  out.Set("inlined", static_cast<double>(inlined));
  out.Set("keyShares", static_cast<double>(keyShares));
  return out;
}

Napi::Value probeCrypto(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object breakEvens = Napi::Object::New(env);
  for (size_t i = 0; i < crypto::kOperations; i++) {
    const auto operation = static_cast<Operation>(i);
    breakEvens.Set(crypto::nameOf(operation), breakEvenOf(operation));
  }
  const auto mode = crypto::chooseMode(std::nullopt);
  Napi::Object out = Napi::Object::New(env);
  out.Set("avx512", crypto::avx512Kernels() != nullptr);
  out.Set("mode", mode.ok() ? crypto::nameOf(mode.value()) : "");
  out.Set("error", mode.ok() ? "" : mode.status().message());
  out.Set("breakEvens", breakEvens);
  return out;
}

}  // namespace weft::binding
