// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound.h"

#include <utility>

#include "base/clock.h"
#include "proxy/inbound_route.h"
#include "proxy/passthrough.h"
#include "proxy/pipe.h"

namespace weft::proxy {
namespace {

/// The workload with the client's address, in the pod's own network.
std::shared_ptr<const Workload> sourceOf(const Tables& tables, const ConnectionInfo& info) {
  return info.destinationWorkload == nullptr
             ? nullptr
             : tables.workloadByIp(info.source.ip, info.destinationWorkload->network);
}

}  // namespace

void Inbound::onAccept(UniqueFd fd, const Endpoint& peer) {
  WorkerState& worker = pod_.worker();
  worker.counters.add(Counter::kInboundAccepted);
  if (pod_.identity() != nullptr) {
    serve(std::move(fd), peer);
    return;
  }
  std::erase_if(held_, [](const auto& held) { return !held->fd; });
  if (held_.size() >= pod_.limits().heldPerPod) {
    worker.counters.add(Counter::kLimitReached);
    refuseTunnel(peer, {}, {Reason::kLimit, "too many connections wait for a certificate", ""});
    return;
  }
  held_.push_back(std::make_unique<Held>());
  Held* held = held_.back().get();
  held->fd = std::move(fd);
  held->peer = peer;
  held->timer.start(worker.loop, worker.settings.identityTimeoutMs, [this, held] {
    pod_.worker().counters.add(Counter::kTunnelsFailedIdentity);
    held->fd.reset();
  });
}

void Inbound::onIdentity() {
  for (auto& held : std::exchange(held_, {})) {
    if (held->fd) {
      serve(std::move(held->fd), held->peer);
    }
  }
}

void Inbound::serve(UniqueFd fd, const Endpoint& peer) {
  const auto local = io::localEndpoint(fd.get());
  if (!local.has_value()) {
    return;  // the connection died in the queue
  }
  if (pod_.full()) {
    refuseTunnel(peer, *local, {Reason::kLimit, "the pod has too many connections", ""});
    return;
  }
  const std::shared_ptr<Source> source = pod_.budget()->source(peer.ip);
  Claim ofSource = Claim::on({source, &source->tunnels()});
  std::array<Claim, 2> handshake = {Claim::on(handshakes_),
                                    Claim::on({source, &source->handshakes()})};
  const char* const reached = !handshake[0]   ? "the pod has too many unfinished handshakes"
                              : !handshake[1] ? "the source has too many unfinished handshakes"
                              : !ofSource     ? "the source has too many tunnels"
                                              : nullptr;
  if (reached != nullptr) {
    pod_.worker().counters.add(Counter::kLimitReached);
    refuseTunnel(peer, *local, {Reason::kLimit, reached, ""});
    return;
  }
  Tunnel::Parts parts{std::move(fd),
                      tls::newServerSession(pod_.identity(), pod_.worker().tls),
                      source,
                      peer,
                      *local,
                      source,
                      std::move(handshake)};
  pod_.adopt(std::make_unique<Tunnel>(pod_, *this, tls::Role::kServer, std::move(parts)))
      ->keep(std::move(ofSource));
}

/// A place among the connections of `source`, half of which is kept from any one address. Empty,
/// and counted, when it or the pod has too many.
Claim Inbound::connectionOf(const std::shared_ptr<Source>& source) {
  if (pod_.full()) {
    return {};
  }
  Claim claim = Claim::on({source, &source->connections()});
  if (!claim) {
    pod_.worker().counters.add(Counter::kLimitReached);
  }
  return claim;
}

void Inbound::onTunnelRequest(Tunnel& tunnel, http::StreamId id, std::string_view method,
                              const http::ConnectRequest& request) {
  WorkerState& worker = pod_.worker();
  ConnectionInfo info;
  info.direction = Direction::kInbound;
  info.source = tunnel.peer();
  info.tunnel = tunnel.local();
  info.destination = tunnel.local();
  info.startedMicros = monotonicMicros();
  // Who the client is, only its certificate says: headers are never asked.
  info.sourceIdentity = tunnel.peerIdentity().id.text;
  info.destinationIdentity = pod_.spec().spiffeId;
  info.destinationWorkload = pod_.workload();
  info.sourceWorkload = sourceOf(*worker.tables, info);
  if (info.sourceWorkload != nullptr && info.sourceWorkload->spiffeId() != info.sourceIdentity) {
    info.sourceWorkload = nullptr;
  }

  const InboundAnswer answer = validateInbound(
      *worker.tables, info.destinationWorkload.get(),
      {method, request.authority, tunnel.local(), info.source.ip, info.sourceIdentity});
  info.destination = answer.target;
  info.destinationService = answer.service;
  if (answer.status != kStatusOk) {
    if (answer.outcome.reason == Reason::kDenied) {
      worker.counters.add(Counter::kStreamsDenied);
    }
    refuse(tunnel, id, answer.status, info, answer.outcome);
    return;
  }
  Claim ofSource = connectionOf(tunnel.source());
  if (!ofSource) {
    refuse(tunnel, id, kStatusUnavailable, info, {Reason::kLimit, "too many connections", ""});
    return;
  }
  Result<UniqueFd> app = connectToApp(info);
  if (!app.ok()) {
    refuse(tunnel, id, kStatusUnavailable, info, {Reason::kConnect, app.status().message(), ""});
    return;
  }
  Pipe* pipe = pod_.adopt(std::make_unique<Pipe>(pod_, std::move(app).value(), std::move(info)));
  pipe->keep(std::move(ofSource));
  pipe->serve(tunnel, id);
}

void Inbound::refuse(Tunnel& tunnel, http::StreamId id, int status, const ConnectionInfo& info,
                     const Outcome& outcome) {
  pod_.worker().counters.add(Counter::kStreamsRefused);
  tunnel.refuse(id, status);
  pod_.report(EventKind::kRefused, info, outcome);
}

/// Connects to the application with the client's own address as source, so that the application
/// sees who called. The pod's policy routing brings the replies back.
Result<UniqueFd> Inbound::connectToApp(const ConnectionInfo& info) {
  std::optional<Ip> source;
  if (info.source.ip != info.destination.ip && !info.source.ip.isLoopback()) {
    source = info.source.ip;
  }
  return pod_.connectToApp(info.destination, source);
}

void Inbound::onAcceptPlaintext(UniqueFd fd, const Endpoint& peer) {
  WorkerState& worker = pod_.worker();
  worker.counters.add(Counter::kPlaintextAccepted);
  ConnectionInfo info;
  info.direction = Direction::kInbound;
  info.source = peer;
  info.destinationWorkload = pod_.workload();
  info.sourceWorkload = sourceOf(*worker.tables, info);
  info.startedMicros = monotonicMicros();
  Outcome refusal;
  const auto destination = pod_.capture().inboundDst(fd.get());
  Claim ofSource = connectionOf(pod_.budget()->source(peer.ip));
  if (!ofSource) {
    refusal = {Reason::kLimit, "too many connections", ""};
  } else if (!destination.has_value()) {
    refusal = {Reason::kNoRoute, "no original destination", ""};
  } else {
    info.destination = *destination;
    refusal =
        validatePlaintext(*worker.tables, info.destinationWorkload.get(), *destination, peer.ip)
            .outcome;
    if (refusal.reason == Reason::kDenied) {
      worker.counters.add(Counter::kStreamsDenied);
    }
  }
  if (refusal.reason == Reason::kNone) {
    Result<UniqueFd> app = connectToApp(info);
    if (app.ok()) {
      auto joined = std::make_unique<Passthrough>(
          pod_, Attempt{std::move(fd), std::move(info), nullptr}, std::move(app).value());
      joined->keep(std::move(ofSource));
      pod_.adopt(std::move(joined));
      return;
    }
    refusal = {Reason::kConnect, app.status().message(), ""};
  }
  worker.counters.add(Counter::kStreamsRefused);
  io::resetOnClose(fd.get());
  pod_.report(EventKind::kRefused, info, refusal);
}

void Inbound::onTunnelGone(Tunnel& tunnel, const Outcome& outcome) {
  if (!tunnel.up()) {  // the streams of one that was up are reported one by one
    refuseTunnel(tunnel.peer(), tunnel.local(), outcome);
  }
}

/// Reports a connection that never became a tunnel.
void Inbound::refuseTunnel(const Endpoint& peer, const Endpoint& local, const Outcome& outcome) {
  ConnectionInfo info;
  info.direction = Direction::kInbound;
  info.source = peer;
  info.destination = local;
  info.tunnel = local;
  info.startedMicros = monotonicMicros();
  info.destinationWorkload = pod_.workload();
  info.destinationIdentity = pod_.spec().spiffeId;
  pod_.report(EventKind::kRefused, info, outcome);
}

}  // namespace weft::proxy
