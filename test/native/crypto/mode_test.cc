// SPDX-License-Identifier: Apache-2.0
#include "crypto/mode.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "base/clock.h"
#include "crypto/mb8.h"

namespace weft::crypto {
namespace {

constexpr const char* kVariable = "WEFT_CRYPTO";

/// The environment's word for as long as it lives; then what stood there before.
class Environment {
 public:
  explicit Environment(const char* value) {
    if (const char* const before = std::getenv(kVariable); before != nullptr) {
      before_ = before;
    }
    value == nullptr ? ::unsetenv(kVariable) : ::setenv(kVariable, value, 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { before_ ? ::setenv(kVariable, before_->c_str(), 1) : ::unsetenv(kVariable); }

 private:
  std::optional<std::string> before_;
};

TEST_CASE("who asks for nothing gets lanes where the processor has them, and no fibers elsewhere") {
  const Mode best = avx512Kernels() != nullptr ? Mode::kAvx512 : Mode::kOff;
  const Environment silent(nullptr);
  CHECK(chooseMode(std::nullopt).value() == best);
  const Environment empty("");
  CHECK(chooseMode(std::nullopt).value() == best);
}

TEST_CASE("the environment's word comes before the setting") {
  const Environment silent(nullptr);
  CHECK(chooseMode(Mode::kScalar).value() == Mode::kScalar);
  const Environment off("off");
  CHECK(chooseMode(Mode::kScalar).value() == Mode::kOff);
  CHECK(chooseMode(std::nullopt).value() == Mode::kOff);
}

TEST_CASE("the portable row is for the environment to choose, and for no setting") {
  const Environment portable("portable");
  CHECK(chooseMode(std::nullopt).value() == Mode::kPortable);
  CHECK(chooseMode(Mode::kOff).value() == Mode::kPortable);
  CHECK_FALSE(modeOf("portable"));
}

TEST_CASE("each mode has its row, or none") {
  CHECK(kernelsOf(Mode::kOff) == nullptr);
  CHECK(kernelsOf(Mode::kScalar) == nullptr);
  CHECK(kernelsOf(Mode::kAvx512) == avx512Kernels());
  CHECK(kernelsOf(Mode::kPortable) == &portableKernels());
}

TEST_CASE("the portable row is worth it from two on, and nothing is without kernels") {
  const auto never = [](Mode mode) {
    return breakEvensOf(mode, threadNanos).lanes == BreakEvens::never().lanes;
  };
  CHECK(never(Mode::kOff));
  CHECK(never(Mode::kScalar));
  const BreakEvens portable = breakEvensOf(Mode::kPortable, threadNanos);
  CHECK(std::all_of(portable.lanes.begin(), portable.lanes.end(), [](auto n) { return n == 2; }));
  const BreakEvens wide = breakEvensOf(Mode::kAvx512, threadNanos);
  CHECK(wide.lanes == breakEvens(threadNanos).lanes);
}

TEST_CASE("a name that is none is refused, and so are lanes that the processor does not have") {
  const Environment wrong("avx9000");
  CHECK(chooseMode(std::nullopt).status().message() ==
        "WEFT_CRYPTO is off, scalar or avx512, not \"avx9000\"");
  CHECK(chooseMode(std::nullopt).status().code() == Code::kInvalid);
  const Environment wide("avx512");
  for (const std::optional<Mode> wanted : {std::optional<Mode>{}, std::optional(Mode::kScalar)}) {
    const Result<Mode> chosen = chooseMode(wanted);
    CHECK(chosen.ok() == (avx512Kernels() != nullptr));
    if (!chosen.ok()) {
      CHECK(chosen.status().code() == Code::kUnavailable);
      CHECK(chosen.status().message() ==
            "this processor has no AVX-512 IFMA, or the system hides it");
    }
  }
}

}  // namespace
}  // namespace weft::crypto
