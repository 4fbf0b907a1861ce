// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "proxy/policy.h"
#include "proxy/tables.h"

namespace weft::proxy {

/// A weft.tables.TablesDelta that broke no rule which can be checked without the table it is for.
/// No uid and no key occurs twice, neither in one list nor in an added and a removed one.
struct TablesDelta {
  std::vector<std::shared_ptr<const Workload>> workloads;
  std::vector<std::string> removedWorkloads;
  std::vector<std::shared_ptr<const Service>> services;
  std::vector<std::string> removedServices;
  std::vector<std::shared_ptr<const Policy>> policies;
  std::vector<std::string> removedPolicies;
  bool policiesReceived = false;
};

/// Reads and checks all of `bytes`, which it does not keep. kInvalid or kLimit says which entry
/// breaks which rule.
Result<TablesDelta> decodeTablesDelta(std::span<const uint8_t> bytes);

}  // namespace weft::proxy
