// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "io/direct_path.h"
#include "kernel/bpf.h"
#include "kernel/pins.h"
#include "kernel/services.h"

struct ring_buffer;

namespace weft::kernel {

/// Direct connections by the maps that another process pinned.
class KernelDirectPath final : public io::DirectPath {
 public:
  /// kUnavailable when there is nothing pinned yet.
  static Result<std::unique_ptr<KernelDirectPath>> open(const Pins& pins);
  ~KernelDirectPath() override;

  Status publish(uint64_t destination, std::span<const io::DirectVerdict> verdicts) override;
  void withdraw(uint64_t destination) override;
  Status publishServices(const io::ServiceTables& tables) override;
  std::vector<io::DirectFlow> flowsOf(uint64_t source) const override;
  bool isOn(uint64_t pod) const override;
  Status end(std::span<const io::DirectFlow> flows, int netns) override;
  Status endAccepted(uint64_t destination, int netns,
                     const std::function<bool(const io::DirectFlow&)>& isAllowed) override;
  int eventsFd() const override;
  void take(const std::function<void(const io::DirectEvent&)>& each) override;

 private:
  explicit KernelDirectPath(KernelServices services) : services_(std::move(services)) {}
  static int onRecord(void* self, void* record, size_t size);

  uint64_t ownerOf(const Ip& ip) const;

  KernelServices services_;
  UniqueFd pods_;
  UniqueFd verdicts_;
  UniqueFd addresses_;
  UniqueFd directs_;
  UniqueFd events_;
  ring_buffer* ring_ = nullptr;
  const std::function<void(const io::DirectEvent&)>* each_ = nullptr;
};

}  // namespace weft::kernel
