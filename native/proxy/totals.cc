// SPDX-License-Identifier: Apache-2.0
#include "proxy/totals.h"

#include <algorithm>
#include <string_view>

namespace weft::proxy {
namespace {

void countPath(const ConnectionInfo& info, TotalsSums& sums) {
  sums.retransmits += info.retransmits;
  if (info.rttMicros > 0) {
    sums.rttMicros += info.rttMicros;
    const auto* const bound =
        std::lower_bound(kRttBoundsMicros.begin(), kRttBoundsMicros.end(), info.rttMicros);
    sums.rttCounts[static_cast<size_t>(bound - kRttBoundsMicros.begin())]++;
  }
}

std::string_view uidOf(const std::shared_ptr<const Workload>& workload) {
  return workload ? std::string_view(workload->uid) : std::string_view();
}

}  // namespace

void Totals::count(EventKind kind, const ConnectionInfo& info, const Outcome& outcome) {
  const bool mutualTls = info.tunnel.port != 0;
  text_.clear();
  text_ += static_cast<char>('0' + static_cast<int>(info.direction));
  text_ += static_cast<char>('0' + static_cast<int>(outcome.reason));
  text_ += mutualTls ? '1' : '0';
  text_ += info.direct ? '1' : '0';
  // None of these holds a line feed, so that different kinds have different texts.
  for (const std::string_view part :
       {uidOf(info.sourceWorkload), uidOf(info.destinationWorkload),
        std::string_view(info.sourceIdentity), std::string_view(info.destinationIdentity),
        std::string_view(info.destinationService)}) {
    text_ += '\n';
    text_ += part;
  }
  auto found = kinds_.find(text_);
  if (found == kinds_.end()) {
    TotalsKey key{info.direction,
                  std::string(uidOf(info.sourceWorkload)),
                  std::string(uidOf(info.destinationWorkload)),
                  info.sourceIdentity,
                  info.destinationIdentity,
                  info.destinationService,
                  mutualTls,
                  info.direct,
                  outcome.reason};
    found = kinds_.emplace(text_, Kind{std::move(key), {}}).first;
  }
  TotalsSums& sums = found->second.sums;
  switch (kind) {
    case EventKind::kOpened:
      sums.opened++;
      return;
    case EventKind::kRefused:
      sums.failed++;
      countPath(info, sums);
      return;
    case EventKind::kClosed:
      sums.closed++;
      sums.bytesSent += info.bytesSent;
      sums.bytesReceived += info.bytesReceived;
      countPath(info, sums);
      return;
  }
}

}  // namespace weft::proxy
