// SPDX-License-Identifier: Apache-2.0
#include "proxy/pool.h"

#include <algorithm>
#include <utility>

#include "proxy/connect_request.h"
#include "proxy/pipe.h"

namespace weft::proxy {
namespace {

/// The identities in one text, whatever their order.
std::string joined(const std::vector<tls::SpiffeId>& expected) {
  if (expected.size() == 1) {
    return expected.front().text;
  }
  std::vector<std::string_view> names;
  for (const tls::SpiffeId& id : expected) {
    names.push_back(id.text);
  }
  std::sort(names.begin(), names.end());
  std::string out;
  for (const std::string_view name : names) {
    out.append(name).push_back('\n');
  }
  return out;
}

io::TcpOptions towardsPeer(const Settings& settings) {
  return {settings.mark, settings.tunnelCongestion, true, settings.h2.deadAfterMs, true};
}

}  // namespace

Pool::Pool(Pod& pod)
    : pod_(pod),
      sockets4_(pod.netns(), AF_INET, towardsPeer(pod.worker().settings)),
      sockets6_(pod.netns(), AF_INET6, towardsPeer(pod.worker().settings)),
      sessions_(pod.limits().resumableSessions, pod.limits().resumablePerPeer) {}

void Pool::submit(Pipe& pipe, const Endpoint& to, const std::vector<tls::SpiffeId>& expected) {
  const auto [at, added] = groups_.try_emplace({to, joined(expected)});
  if (added) {
    at->second.expected = expected;
  }
  const std::optional<Outcome> failure = submit(pipe, at);
  if (at->second.tunnels.empty()) {
    groups_.erase(at);  // no connect could even be started
  }
  if (failure.has_value()) {
    pipe.failed(*failure, true);
  }
}

/// The tunnel with the fewest streams that takes another one; those that are up come first, so that
/// nothing waits while one has room.
Tunnel* Pool::leastLoaded(const Group& group) {
  Tunnel* best = nullptr;
  for (Tunnel* tunnel : group.tunnels) {
    if (!tunnel->hasRoom()) {
      continue;
    }
    if (best == nullptr ||
        std::pair(!tunnel->up(), tunnel->cost()) < std::pair(!best->up(), best->cost())) {
      best = tunnel;
    }
  }
  return best;
}

/// Says why when no tunnel takes the pipe.
std::optional<Outcome> Pool::submit(Pipe& pipe, Groups::iterator at) {
  Group& group = at->second;
  Outcome outcome;
  Tunnel* tunnel = leastLoaded(group);
  if (tunnel != nullptr && tunnel->up()) {
    if (tunnel->congested() && group.tunnels.size() < pod_.limits().busyTunnelsPerPeer) {
      open(at, outcome);  // this stream does not wait for it; the next ones find it
    }
    const Status opened = openStream(*tunnel, pipe);
    if (opened.ok()) {
      return std::nullopt;
    }
    if (opened.code() == Code::kLimit) {
      pod_.worker().counters.add(Counter::kLimitReached);
      return Outcome{Reason::kLimit, opened.message(), ""};
    }
    tunnel = nullptr;
  }
  if (tunnel == nullptr) {
    tunnel = open(at, outcome);
  }
  if (tunnel == nullptr) {
    return outcome;
  }
  pipe.waitIn(tunnel->waiting());
  return std::nullopt;
}

Status Pool::openStream(Tunnel& tunnel, Pipe& pipe) {
  const Result<http::StreamId> id =
      tunnel.h2().request(connectRequestFor(pipe.info(), pod_.baggage(), pod_.worker().random));
  if (!id.ok()) {
    return id.status();
  }
  pipe.attach(tunnel, id.value());
  tunnel.markSaid();
  return {};
}

Tunnel* Pool::open(Groups::iterator at, Outcome& outcome) {
  const Key& key = at->first;
  Group& group = at->second;
  WorkerState& worker = pod_.worker();
  if (group.tunnels.size() >= pod_.limits().tunnelsPerPeer) {
    worker.counters.add(Counter::kLimitReached);
    outcome = {Reason::kLimit, "too many tunnels to " + key.to.toString(), ""};
    return nullptr;
  }
  if (pod_.full()) {
    outcome = {Reason::kLimit, "the pod has too many connections", ""};
    return nullptr;
  }
  Result<UniqueFd> fd = (key.to.ip.isV4() ? sockets4_ : sockets6_).take(worker.loop.nowMs());
  if (fd.ok()) {
    fd = io::connectTcp(std::move(fd).value(), key.to, std::nullopt);
  }
  if (!fd.ok()) {
    worker.counters.add(Counter::kTunnelsFailedConnect);
    outcome = {Reason::kConnect, fd.status().message(), ""};
    return nullptr;
  }
  auto session = tls::newClientSession(pod_.identity(), group.expected, worker.tls,
                                       {&sessions_, key.to.toString() + "\n" + key.expected});
  Tunnel::Parts parts{std::move(fd).value(), std::move(session), pod_.budget(), key.to, {}, {}, {}};
  Tunnel* tunnel =
      pod_.adopt(std::make_unique<Tunnel>(pod_, *this, tls::Role::kClient, std::move(parts)));
  group.tunnels.push_back(tunnel);
  groupOf_.emplace(tunnel, at);
  return tunnel;
}

void Pool::onTunnelUp(Tunnel& tunnel) {
  const auto at = groupOf_.at(&tunnel);
  for (Pipe* pipe : std::exchange(tunnel.waiting(), {})) {
    pipe->leaveList();
    // The peer may take fewer streams than we queued.
    if (const std::optional<Outcome> failure = submit(*pipe, at)) {
      pipe->failed(*failure, true);
    }
  }
}

void Pool::onTunnelRequest(Tunnel& tunnel, http::StreamId id, std::string_view,
                           const http::ConnectRequest&) {
  tunnel.h2().reset(id, http::H2Error::kProtocolError);  // a client takes no requests
}

void Pool::onTunnelGone(Tunnel& tunnel, const Outcome&) {
  const auto known = groupOf_.find(&tunnel);
  Group& group = known->second->second;
  std::erase(group.tunnels, &tunnel);
  if (group.tunnels.empty()) {
    groups_.erase(known->second);
  }
  groupOf_.erase(known);
}

}  // namespace weft::proxy
