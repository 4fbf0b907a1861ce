// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "io/capture.h"

namespace weft::kernel {

/// Pods that are captured in the kernel, by what another process pinned below `pins`; every other
/// pod by netfilter. The folder may appear at any time.
class KernelCaptures final : public io::Captures {
 public:
  explicit KernelCaptures(std::string pins);
  ~KernelCaptures() override;
  std::shared_ptr<io::Capture> of(int netns) override;
  io::CaptureStats stats() override;
  void beat() override;
  std::unique_ptr<io::DirectPath> directPath() override;

 private:
  struct Maps;
  std::shared_ptr<Maps> maps();

  const std::string pins_;
  io::NetfilterCaptures others_;
  std::mutex mutex_;
  std::shared_ptr<Maps> maps_;
};

}  // namespace weft::kernel
