// SPDX-License-Identifier: Apache-2.0
// Runs the unit tests and reports them as TAP, a line per test case, each with how long it took.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <mutex>
#include <sstream>
#include <string>

namespace {

// Lines of a diagnostic start with "#"; everything else would be read as TAP.
void printComment(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::printf("  # %s\n", line.c_str());
  }
}

class TapReporter : public doctest::IReporter {
 public:
  explicit TapReporter(const doctest::ContextOptions& options) : options_(options) {}

  void report_query(const doctest::QueryData& data) override {
    for (unsigned at = 0; at < data.num_data; ++at) {
      std::printf("# %s\n", data.data[at]->m_name);
    }
  }
  void test_run_start() override { std::printf("TAP version 14\n"); }
  void test_run_end(const doctest::TestRunStats&) override { std::printf("1..%u\n", count_); }
  void test_case_start(const doctest::TestCaseData& data) override { case_ = &data; }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    const bool ok = stats.failure_flags == 0;
    std::printf("%s %u - %s # time=%.0fms\n", ok ? "ok" : "not ok", ++count_, case_->m_name,
                stats.seconds * 1000);
    printComment(notes_);
    notes_.clear();
    std::fflush(stdout);
  }
  void test_case_exception(const doctest::TestCaseException& exception) override {
    note(std::string(exception.is_crash ? "crash: " : "exception: ") +
         exception.error_string.c_str());
  }
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& data) override {
    if (data.m_failed) {
      note(std::string(data.m_file) + ":" + std::to_string(data.m_line) + ": " + data.m_expr +
           "\n  is: " + data.m_decomp.c_str());
    }
  }
  void log_message(const doctest::MessageData& data) override {
    note(std::string(data.m_file) + ":" + std::to_string(data.m_line) + ": " +
         data.m_string.c_str());
  }
  void test_case_skipped(const doctest::TestCaseData& data) override {
    if (!options_.no_skipped_summary && data.m_skip) {
      std::printf("ok %u - %s # SKIP\n", ++count_, data.m_name);
    }
  }

 private:
  // Assertions may fail on any thread.
  void note(const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    notes_ += text + "\n";
  }

  const doctest::ContextOptions& options_;
  const doctest::TestCaseData* case_ = nullptr;
  unsigned count_ = 0;
  std::mutex mutex_;
  std::string notes_;
};

REGISTER_REPORTER("tap", 1, TapReporter);

}  // namespace

int main(int argc, char** argv) {
  doctest::Context context;
  context.setOption("reporters", "tap");
  context.applyCommandLine(argc, argv);
  return context.run();
}
