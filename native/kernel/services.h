// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "io/direct_path.h"
#include "kernel/bpf.h"
#include "kernel/pins.h"

namespace weft::kernel {

/// The tables that programs pick endpoints of services from, by the maps that another process
/// pinned. One thread.
class KernelServices {
 public:
  /// kUnavailable when there is nothing pinned yet.
  static Result<KernelServices> open(const Pins& pins);

  /// See io::DirectPath::publishServices(). What a predecessor has left counts as published.
  Status publish(const io::ServiceTables& tables);

 private:
  struct Published {
    uint64_t table = 0;
    size_t places = 0;
    io::ServicePicks picks;  // none: a predecessor's
  };

  KernelServices() = default;
  void recover();
  Status put(const Endpoint& at, const io::ServicePicks& picks);
  void remove(const Endpoint& at);
  void removePicks(uint64_t table, size_t places);

  UniqueFd services_;
  UniqueFd picks_;
  std::map<Endpoint, Published> published_;
  uint64_t nextTable_ = 0;
};

}  // namespace weft::kernel
