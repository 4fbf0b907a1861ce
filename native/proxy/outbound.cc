// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound.h"

#include <utility>

#include "base/clock.h"
#include "proxy/passthrough.h"
#include "proxy/pipe.h"

namespace weft::proxy {
namespace {

/// Captured in the kernel, a connection comes from the loopback; to others it is the pod's.
void showOwnAddress(ConnectionInfo& info) {
  if (!info.source.ip.isLoopback() || info.sourceWorkload == nullptr) {
    return;
  }
  for (const Ip& ip : info.sourceWorkload->addresses) {
    if (ip.isV4() == info.source.ip.isV4()) {
      info.source.ip = ip;
      return;
    }
  }
}

}  // namespace

void Outbound::onAccept(UniqueFd fd, const Endpoint& peer) {
  WorkerState& worker = pod_.worker();
  worker.counters.add(Counter::kOutboundAccepted);
  ConnectionInfo info;
  info.direction = Direction::kOutbound;
  info.source = peer;
  info.sourceWorkload = pod_.workload();
  showOwnAddress(info);
  info.startedMicros = monotonicMicros();
  if (pod_.full()) {
    refuse(std::move(fd), info, {Reason::kLimit, "the pod has too many connections", ""});
    return;
  }
  const auto origin = pod_.capture().outboundDst(fd.get(), peer);
  if (!origin.has_value()) {
    refuse(std::move(fd), info, {Reason::kNoRoute, "no original destination", ""});
    return;
  }
  info.destination = origin->destination;
  if (info.sourceWorkload == nullptr) {
    refuse(std::move(fd), info, {Reason::kNoRoute, "the source workload is unknown", ""});
    return;
  }
  Attempt attempt{std::move(fd), std::move(info), std::make_unique<Retry>()};
  attempt.retry->asked = origin->destination;
  attempt.retry->picked = origin->picked;
  Route route = decide(attempt);
  connect(std::move(attempt), std::move(route));
}

Route Outbound::decide(const Attempt& attempt) {
  WorkerState& worker = pod_.worker();
  const Retry& retry = *attempt.retry;
  return decideRoute({*worker.tables, *attempt.info.sourceWorkload, retry.asked,
                      worker.settings.registryOnly, retry.tried, retry.picked},
                     worker.balancer, monotonicMillis());
}

void Outbound::connect(Attempt attempt, Route route) {
  ConnectionInfo& info = attempt.info;
  attempt.retry->attempts++;
  info.destinationWorkload = route.workload;
  info.destinationService = route.service;
  switch (route.kind) {
    case Route::Kind::kTunnel:
      tunnel(std::move(attempt), std::move(route));
      return;
    case Route::Kind::kPassthrough:
      info.destination = route.target;
      passthrough(std::move(attempt), std::move(route.lease));
      return;
    case Route::Kind::kRefuse:
      info.destination = attempt.retry->asked;
      refuse(std::move(attempt.fd), info, {Reason::kNoRoute, route.detail, ""});
      return;
  }
}

bool Outbound::retry(Attempt& attempt, bool elsewhere) {
  if (attempt.retry == nullptr || !attempt.retry->possible()) {
    return false;
  }
  if (elsewhere) {
    if (attempt.info.destinationService.empty() || attempt.info.destinationWorkload == nullptr) {
      return false;  // there is only this endpoint
    }
    attempt.retry->tried.push_back(attempt.info.destinationWorkload->uid);
  }
  Route route = decide(attempt);
  if (route.kind == Route::Kind::kRefuse) {
    return false;  // what failed first tells more than that there is nothing else
  }
  pod_.worker().counters.add(Counter::kConnectsRetried);
  connect(std::move(attempt), std::move(route));
  return true;
}

void Outbound::tunnel(Attempt attempt, Route route) {
  ConnectionInfo& info = attempt.info;
  info.destination = route.target;
  info.tunnel = route.tunnel;
  info.sourceIdentity = pod_.spec().spiffeId;
  info.destinationIdentity = route.expected.front().text;
  Pipe* pipe = pod_.adopt(std::make_unique<Pipe>(pod_, std::move(attempt)));
  pipe->hold(std::move(route.lease));
  if (pod_.identity() == nullptr) {
    hold(*pipe, route);
  } else {
    pool_.submit(*pipe, route.tunnel, route.expected);
  }
}

void Outbound::hold(Pipe& pipe, const Route& route) {
  std::erase_if(held_, [](const auto& held) { return held->pipes.empty(); });
  if (held_.size() >= pod_.limits().heldPerPod) {
    pod_.worker().counters.add(Counter::kLimitReached);
    pipe.abort({Reason::kLimit, "too many connections wait for the pod's certificate", ""});
    return;
  }
  auto held = std::make_unique<Held>();
  held->to = route.tunnel;
  held->expected = route.expected;
  pipe.waitIn(held->pipes);
  held_.push_back(std::move(held));
  Held* raw = held_.back().get();
  raw->timer.start(pod_.worker().loop, pod_.worker().settings.identityTimeoutMs, [raw] {
    for (Pipe* waiting : std::exchange(raw->pipes, {})) {
      waiting->hold({});  // the endpoint has no part in it
      waiting->abort({Reason::kIdentity, "the pod has no certificate yet", ""});
    }
  });
}

void Outbound::onIdentity() {
  for (auto& held : std::exchange(held_, {})) {
    for (Pipe* pipe : std::exchange(held->pipes, {})) {
      pipe->leaveList();
      pool_.submit(*pipe, held->to, held->expected);
    }
  }
}

void Outbound::passthrough(Attempt attempt, Lease lease) {
  Result<UniqueFd> out = pod_.connectToApp(attempt.info.destination, std::nullopt);
  if (!out.ok()) {
    lease.failed(monotonicMillis());
    if (!retry(attempt, true)) {
      refuse(std::move(attempt.fd), attempt.info, {Reason::kConnect, out.status().message(), ""});
    }
    return;
  }
  pod_.adopt(std::make_unique<Passthrough>(pod_, std::move(attempt), std::move(out).value()))
      ->hold(std::move(lease));
}

void Outbound::refuse(UniqueFd fd, const ConnectionInfo& info, const Outcome& outcome) {
  pod_.worker().counters.add(Counter::kStreamsRefused);
  io::resetOnClose(fd.get());
  pod_.report(EventKind::kRefused, info, outcome);
}

}  // namespace weft::proxy
