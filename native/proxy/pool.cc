// SPDX-License-Identifier: Apache-2.0
#include "proxy/pool.h"

#include <algorithm>
#include <utility>

#include "proxy/connect_request.h"
#include "proxy/pipe.h"

namespace weft::proxy {

void Pool::submit(Pipe& pipe, const Endpoint& to, const std::vector<tls::SpiffeId>& expected) {
  std::vector<std::string> names;
  for (const tls::SpiffeId& id : expected) {
    names.push_back(id.text);
  }
  std::sort(names.begin(), names.end());
  Key key{to, {}};
  for (const std::string& name : names) {
    key.expected += name + "\n";
  }
  Group& group = groups_[key];
  group.expected = expected;
  submit(pipe, key, group);
  if (group.tunnels.empty()) {
    groups_.erase(key);  // no connect could even be started
  }
}

void Pool::submit(Pipe& pipe, const Key& key, Group& group) {
  // The tunnel that is up first, so that nothing waits while one has room.
  Tunnel* waitingRoom = nullptr;
  for (Tunnel* tunnel : group.tunnels) {
    if (!tunnel->hasRoom()) {
      continue;
    }
    if (tunnel->up() && openStream(*tunnel, pipe)) {
      return;
    }
    if (!tunnel->up() && waitingRoom == nullptr) {
      waitingRoom = tunnel;
    }
  }
  Outcome outcome;
  if (waitingRoom == nullptr) {
    waitingRoom = open(key, group, outcome);
  }
  if (waitingRoom == nullptr) {
    pipe.abort(outcome);
    return;
  }
  pipe.waitIn(waitingRoom->waiting());
}

bool Pool::openStream(Tunnel& tunnel, Pipe& pipe) {
  const Result<http::StreamId> id =
      tunnel.h2().request(connectRequestFor(pipe.info(), pod_.worker().random));
  if (!id.ok()) {
    return false;
  }
  pipe.attach(tunnel, id.value());
  tunnel.markDirty();
  return true;
}

Tunnel* Pool::open(const Key& key, Group& group, Outcome& outcome) {
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
  Result<UniqueFd> fd =
      io::connectTcp(pod_.netns(), key.to, std::nullopt, {worker.settings.mark, {}, true});
  if (!fd.ok()) {
    worker.counters.add(Counter::kTunnelsFailedConnect);
    outcome = {Reason::kConnect, fd.status().message(), ""};
    return nullptr;
  }
  auto session = tls::newClientSession(pod_.identity(), group.expected, worker.tls);
  Tunnel* tunnel =
      pod_.adopt(std::make_unique<Tunnel>(pod_, *this, std::move(fd).value(), std::move(session),
                                          tls::Role::kClient, key.to, Endpoint{}));
  group.tunnels.push_back(tunnel);
  return tunnel;
}

void Pool::onTunnelUp(Tunnel& tunnel) {
  for (auto& [key, group] : groups_) {
    if (std::find(group.tunnels.begin(), group.tunnels.end(), &tunnel) == group.tunnels.end()) {
      continue;
    }
    for (Pipe* pipe : std::exchange(tunnel.waiting(), {})) {
      if (!openStream(tunnel, *pipe)) {
        submit(*pipe, key, group);  // the peer takes fewer streams than we queued
      }
    }
    return;
  }
}

void Pool::onTunnelRequest(Tunnel& tunnel, http::StreamId id, std::string_view,
                           const http::ConnectRequest&) {
  tunnel.h2().reset(id, http::H2Error::kProtocolError);  // a client takes no requests
}

void Pool::onTunnelGone(Tunnel& tunnel, const Outcome&) {
  for (auto group = groups_.begin(); group != groups_.end(); ++group) {
    if (std::erase(group->second.tunnels, &tunnel) > 0) {
      if (group->second.tunnels.empty()) {
        groups_.erase(group);
      }
      return;
    }
  }
}

void Pool::retireAll() {
  // Retiring takes effect by a timer, so the groups do not change under this loop.
  for (auto& [key, group] : groups_) {
    for (Tunnel* tunnel : group.tunnels) {
      tunnel->retire();
    }
  }
}

}  // namespace weft::proxy
