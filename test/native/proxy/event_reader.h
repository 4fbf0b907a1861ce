// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <utility>
#include <vector>

#include "proxy/events.h"

namespace weft::test {

/// One weft.events.ConnectionEvent, as a reader of the schema sees it.
struct Event {
  int32_t kind = 0;
  int32_t direction = 0;
  std::string podUid;
  std::string source, destination, tunnel;
  std::string sourceIdentity, destinationIdentity;
  std::string sourceWorkload, destinationWorkload, destinationService;
  uint64_t sent = 0;
  uint64_t received = 0;
  uint64_t durationUs = 0;
  int32_t reason = 0;
  std::string detail, policy;
  bool mutualTls = false;

  bool is(proxy::EventKind k) const { return kind == static_cast<int32_t>(k); }
  bool is(proxy::Reason r) const { return reason == static_cast<int32_t>(r); }
};

/// One weft.events.ConnectionTotals.
struct TotalsRead {
  int32_t reason = 0;
  uint64_t opened = 0, closed = 0, failed = 0, sent = 0, received = 0;
  uint64_t retransmits = 0, rttUs = 0;
  std::vector<uint64_t> rttCounts;
};

struct EventBatch {
  std::vector<Event> events;
  uint64_t dropped = 0;
  std::vector<TotalsRead> totals;
  std::string lines;
  std::vector<std::pair<int32_t, uint32_t>> leftOut;  // reason, lines
};

inline TotalsRead readTotals(protozero::pbf_reader in) {
  TotalsRead out;
  uint64_t* const sums[] = {&out.opened, &out.closed, &out.failed, &out.sent, &out.received};
  uint64_t* const path[] = {&out.retransmits, &out.rttUs};
  while (in.next()) {
    const uint32_t tag = in.tag();
    if (tag >= 9 && tag <= 13) {
      *sums[tag - 9] = in.get_uint64();
    } else if (tag == 15 || tag == 16) {
      *path[tag - 15] = in.get_uint64();
    } else if (tag == 17) {
      const auto counts = in.get_packed_uint64();
      out.rttCounts.assign(counts.begin(), counts.end());
    } else if (tag == 8) {
      out.reason = in.get_enum();
    } else {
      in.skip();
    }
  }
  return out;
}

inline std::pair<int32_t, uint32_t> readLeftOut(protozero::pbf_reader in) {
  std::pair<int32_t, uint32_t> out;
  while (in.next()) {
    if (in.tag() == 1) {
      out.first = in.get_enum();
    } else {
      out.second = in.get_uint32();
    }
  }
  return out;
}

inline Event readEvent(protozero::pbf_reader in) {
  Event out;
  std::string* const texts[] = {nullptr,
                                nullptr,
                                nullptr,
                                &out.podUid,
                                &out.source,
                                &out.destination,
                                &out.tunnel,
                                &out.sourceIdentity,
                                &out.destinationIdentity,
                                &out.sourceWorkload,
                                &out.destinationWorkload,
                                &out.destinationService};
  while (in.next()) {
    const uint32_t tag = in.tag();
    if (tag >= 3 && tag <= 11) {
      *texts[tag] = in.get_string();
    } else if (tag == 16 || tag == 17) {
      (tag == 16 ? out.detail : out.policy) = in.get_string();
    } else if (tag >= 12 && tag <= 14) {
      (tag == 12 ? out.sent : tag == 13 ? out.received : out.durationUs) = in.get_uint64();
    } else if (tag == 1 || tag == 2 || tag == 15) {
      (tag == 1 ? out.kind : tag == 2 ? out.direction : out.reason) = in.get_enum();
    } else if (tag == 18) {
      out.mutualTls = in.get_bool();
    } else {
      in.skip();
    }
  }
  return out;
}

/// Decodes what EventQueue::take() gave. Throws when it is no EventBatch.
inline EventBatch readEvents(const std::string& bytes) {
  EventBatch batch;
  protozero::pbf_reader in(bytes);
  while (in.next()) {
    if (in.tag() == 1) {
      batch.events.push_back(readEvent(in.get_message()));
    } else if (in.tag() == 2) {
      batch.dropped += in.get_uint64();
    } else if (in.tag() == 3) {
      batch.totals.push_back(readTotals(in.get_message()));
    } else if (in.tag() == 4) {
      batch.lines += in.get_bytes();
    } else if (in.tag() == 5) {
      batch.leftOut.push_back(readLeftOut(in.get_message()));
    } else {
      in.skip();
    }
  }
  return batch;
}

}  // namespace weft::test
