// SPDX-License-Identifier: Apache-2.0
#include "base/counters.h"

#include "base/check.h"

namespace weft {

const std::array<const char*, kCounterCount> kCounterNames = {
    "outbound_accepted",      "inbound_accepted",     "plaintext_accepted",
    "tunnels_opened",         "tunnels_accepted",     "tunnels_closed",
    "tunnels_failed_tls",     "tunnels_failed_http2", "tunnels_failed_identity",
    "tunnels_failed_connect", "tunnels_timed_out",    "streams_opened",
    "streams_closed",         "streams_denied",       "streams_refused",
    "streams_reset",          "passthrough_opened",   "passthrough_closed",
    "bytes_from_apps",        "bytes_to_apps",        "limit_reached",
    "connects_retried",       "events_dropped",
};

CounterTable::CounterTable(size_t rows)
    : rows_(rows), cells_(new std::atomic<uint64_t>[rows * kCounterCount]()) {}

CounterRow CounterTable::row(size_t index) {
  CHECK(index < rows_);
  return CounterRow(cells_.get() + index * kCounterCount);
}

uint64_t CounterTable::sum(Counter which) const {
  uint64_t total = 0;
  for (size_t row = 0; row < rows_; row++) {
    total +=
        cells_[row * kCounterCount + static_cast<size_t>(which)].load(std::memory_order_relaxed);
  }
  return total;
}

}  // namespace weft
