// SPDX-License-Identifier: Apache-2.0
// Built with exceptions, as protozero needs: its writer throws nothing but out-of-memory.
#include <protozero/pbf_builder.hpp>

#include "proxy/event_sink.h"
#include "proxy/events.h"
#include "proxy/snapshot.h"

namespace weft::proxy {
namespace {

// native/proto/events.proto
enum class BatchField : protozero::pbf_tag_type {
  kConnections = 1,
  kDropped = 2,
  kTunnels = 3,  // of a snapshot
  kTotals = 3,
  kLines = 4,
  kLeftOut = 5,
};
enum class TotalsField : protozero::pbf_tag_type {
  kDirection = 1,
  kSourceWorkload = 2,
  kDestinationWorkload = 3,
  kSourceIdentity = 4,
  kDestinationIdentity = 5,
  kDestinationService = 6,
  kMutualTls = 7,
  kReason = 8,
  kOpened = 9,
  kClosed = 10,
  kFailed = 11,
  kBytesSent = 12,
  kBytesReceived = 13,
  kDirect = 14,
  kRetransmits = 15,
  kRttUs = 16,
  kRttCounts = 17,
};
enum class LeftOutField : protozero::pbf_tag_type { kReason = 1, kLines = 2 };
enum class TunnelField : protozero::pbf_tag_type {
  kDirection = 1,
  kPodUid = 2,
  kPeerAddress = 3,
  kLocalAddress = 4,
  kOwnIdentity = 5,
  kPeerIdentity = 6,
  kStreams = 7,
  kAgeUs = 8,
  kUnsentBytes = 9,
  kUp = 10,
  kRetiring = 11,
};
enum class EventField : protozero::pbf_tag_type {
  kKind = 1,
  kDirection = 2,
  kPodUid = 3,
  kSourceAddress = 4,
  kDestinationAddress = 5,
  kTunnelAddress = 6,
  kSourceIdentity = 7,
  kDestinationIdentity = 8,
  kSourceWorkload = 9,
  kDestinationWorkload = 10,
  kDestinationService = 11,
  kBytesSent = 12,
  kBytesReceived = 13,
  kDurationUs = 14,
  kReason = 15,
  kDetail = 16,
  kPolicy = 17,
  kMutualTls = 18,
  kRttUs = 19,
  kRetransmits = 20,
};

}  // namespace

void encodeConnectionEvent(EventKind kind, const std::string& podUid, const ConnectionInfo& info,
                           const Outcome& outcome, uint64_t nowMicros, std::string& batch) {
  protozero::pbf_builder<BatchField> out(batch);
  protozero::pbf_builder<EventField> event(out, BatchField::kConnections);
  event.add_enum(EventField::kKind, static_cast<int32_t>(kind));
  event.add_enum(EventField::kDirection, static_cast<int32_t>(info.direction));
  event.add_string(EventField::kPodUid, podUid);
  event.add_string(EventField::kSourceAddress, info.source.toString());
  event.add_string(EventField::kDestinationAddress, info.destination.toString());
  if (info.tunnel.port != 0) {
    event.add_string(EventField::kTunnelAddress, info.tunnel.toString());
  }
  event.add_string(EventField::kSourceIdentity, info.sourceIdentity);
  event.add_string(EventField::kDestinationIdentity, info.destinationIdentity);
  if (info.sourceWorkload) {
    event.add_string(EventField::kSourceWorkload, info.sourceWorkload->uid);
  }
  if (info.destinationWorkload) {
    event.add_string(EventField::kDestinationWorkload, info.destinationWorkload->uid);
  }
  event.add_string(EventField::kDestinationService, info.destinationService);
  event.add_uint64(EventField::kBytesSent, info.bytesSent);
  event.add_uint64(EventField::kBytesReceived, info.bytesReceived);
  event.add_uint64(EventField::kDurationUs, nowMicros - info.startedMicros);
  event.add_enum(EventField::kReason, static_cast<int32_t>(outcome.reason));
  event.add_string(EventField::kDetail, outcome.detail);
  event.add_string(EventField::kPolicy, outcome.policy);
  event.add_bool(EventField::kMutualTls, info.tunnel.port != 0);
  event.add_uint32(EventField::kRttUs, info.rttMicros);
  event.add_uint32(EventField::kRetransmits, info.retransmits);
}

void encodeTunnel(const std::string& podUid, const TunnelInfo& info, uint64_t nowMicros,
                  std::string& snapshot) {
  protozero::pbf_builder<BatchField> out(snapshot);
  protozero::pbf_builder<TunnelField> tunnel(out, BatchField::kTunnels);
  tunnel.add_enum(TunnelField::kDirection, static_cast<int32_t>(info.direction));
  tunnel.add_string(TunnelField::kPodUid, podUid);
  tunnel.add_string(TunnelField::kPeerAddress, info.peer.toString());
  if (info.local.port != 0) {
    tunnel.add_string(TunnelField::kLocalAddress, info.local.toString());
  }
  tunnel.add_string(TunnelField::kOwnIdentity, info.ownIdentity);
  tunnel.add_string(TunnelField::kPeerIdentity, info.peerIdentity);
  tunnel.add_uint32(TunnelField::kStreams, static_cast<uint32_t>(info.streams));
  tunnel.add_uint64(TunnelField::kAgeUs, nowMicros - info.startedMicros);
  tunnel.add_uint64(TunnelField::kUnsentBytes, info.unsentBytes);
  tunnel.add_bool(TunnelField::kUp, info.up);
  tunnel.add_bool(TunnelField::kRetiring, info.retiring);
}

void encodeTotals(const TotalsKey& key, const TotalsSums& sums, std::string& batch) {
  protozero::pbf_builder<BatchField> out(batch);
  protozero::pbf_builder<TotalsField> totals(out, BatchField::kTotals);
  totals.add_enum(TotalsField::kDirection, static_cast<int32_t>(key.direction));
  totals.add_string(TotalsField::kSourceWorkload, key.sourceWorkload);
  totals.add_string(TotalsField::kDestinationWorkload, key.destinationWorkload);
  totals.add_string(TotalsField::kSourceIdentity, key.sourceIdentity);
  totals.add_string(TotalsField::kDestinationIdentity, key.destinationIdentity);
  totals.add_string(TotalsField::kDestinationService, key.destinationService);
  totals.add_bool(TotalsField::kMutualTls, key.mutualTls);
  totals.add_bool(TotalsField::kDirect, key.direct);
  totals.add_enum(TotalsField::kReason, static_cast<int32_t>(key.reason));
  totals.add_uint64(TotalsField::kOpened, sums.opened);
  totals.add_uint64(TotalsField::kClosed, sums.closed);
  totals.add_uint64(TotalsField::kFailed, sums.failed);
  totals.add_uint64(TotalsField::kBytesSent, sums.bytesSent);
  totals.add_uint64(TotalsField::kBytesReceived, sums.bytesReceived);
  totals.add_uint64(TotalsField::kRetransmits, sums.retransmits);
  if (sums.rttMicros > 0) {
    totals.add_uint64(TotalsField::kRttUs, sums.rttMicros);
    totals.add_packed_uint64(TotalsField::kRttCounts, sums.rttCounts.begin(), sums.rttCounts.end());
  }
}

void encodeLines(const std::string& lines, std::string& batch) {
  protozero::pbf_builder<BatchField> out(batch);
  out.add_bytes(BatchField::kLines, lines);
}

void encodeLeftOut(const LeftOut& leftOut, std::string& batch) {
  protozero::pbf_builder<BatchField> out(batch);
  for (size_t i = 0; i < leftOut.size(); i++) {
    if (leftOut[i] > 0) {
      protozero::pbf_builder<LeftOutField> one(out, BatchField::kLeftOut);
      one.add_enum(LeftOutField::kReason, static_cast<int32_t>(i));
      one.add_uint32(LeftOutField::kLines, leftOut[i]);
    }
  }
}

void encodeDropped(uint64_t dropped, std::string& batch) {
  protozero::pbf_builder<BatchField> out(batch);
  out.add_uint64(BatchField::kDropped, dropped);
}

}  // namespace weft::proxy
