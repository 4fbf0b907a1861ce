// SPDX-License-Identifier: Apache-2.0
#include "proxy/balance.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "proxy/settings.h"

namespace weft::proxy {
namespace {

/// Above every locality: an address of a family the client does not speak is hardly reachable.
constexpr uint32_t kSameFamilyRank = 1000;

/// 0 when the map names no port.
uint16_t targetPortOf(std::span<const PortMap> ports, uint16_t servicePort) {
  const auto found = std::find_if(ports.begin(), ports.end(),
                                  [&](const PortMap& p) { return p.servicePort == servicePort; });
  return found == ports.end() ? uint16_t{0} : found->targetPort;
}

/// The workload's address in the family asked for, its first one otherwise; none of a family that
/// the service excludes.
std::optional<Ip> addressOf(const Workload& workload, const Service& service, bool v4) {
  std::optional<Ip> fallback;
  for (const Ip& ip : workload.addresses) {
    const auto excluded = ip.isV4() ? Service::Families::kIpv6 : Service::Families::kIpv4;
    if (service.families == excluded) {
      continue;
    }
    if (ip.isV4() == v4) {
      return ip;
    }
    fallback = fallback.has_value() ? fallback : ip;
  }
  return fallback;
}

bool sameKnown(const std::string& a, const std::string& b) {
  return !a.empty() && a == b;
}

bool isNear(Nearness nearness, const Workload& a, const Workload& b) {
  const bool region = sameKnown(a.locality.region, b.locality.region);
  switch (nearness) {
    case Nearness::kRegion:
      return region;
    case Nearness::kZone:
      return region && sameKnown(a.locality.zone, b.locality.zone);
    case Nearness::kSubzone:
      return region && sameKnown(a.locality.zone, b.locality.zone) &&
             sameKnown(a.locality.subzone, b.locality.subzone);
    case Nearness::kNode:
      return sameKnown(a.node, b.node) && a.cluster == b.cluster;
    case Nearness::kCluster:
      return sameKnown(a.cluster, b.cluster);
    case Nearness::kNetwork:
      return a.network == b.network;
  }
  return false;
}

/// How many of the preferences hold, up to the first that does not.
uint32_t nearnessOf(const LoadBalancing& balancing, const Workload& source,
                    const Workload& endpoint) {
  uint32_t count = 0;
  for (const Nearness nearness : balancing.preference) {
    if (!isNear(nearness, source, endpoint)) {
      break;
    }
    count++;
  }
  return count;
}

/// Why an endpoint cannot serve a query, in the order in which it is found out.
enum class Unfit { kNone, kUnhealthy, kElsewhere, kNoAddress, kNoPort, kTooFar, kTried };

Unfit fit(const BalanceQuery& query, const ServiceEndpoint& endpoint, uint16_t commonPort,
          Candidate& out) {
  const LoadBalancing& balancing = query.service.loadBalancing;
  const Workload& workload = *endpoint.workload;
  if ((!workload.healthy && !balancing.allowUnhealthy) || workload.capacity == 0) {
    return Unfit::kUnhealthy;
  }
  if (workload.network != query.source.network) {
    return Unfit::kElsewhere;
  }
  const bool v4 = query.destination.ip.isV4();
  const std::optional<Ip> ip = addressOf(workload, query.service, v4);
  if (!ip.has_value()) {
    return Unfit::kNoAddress;
  }
  const uint16_t own = targetPortOf(endpoint.binding->ports, query.destination.port);
  const uint16_t port = own != 0 ? own : commonPort;
  if (port == 0) {
    return Unfit::kNoPort;
  }
  uint32_t rank = 0;
  if (balancing.mode == LoadBalancing::Mode::kStrict ||
      balancing.mode == LoadBalancing::Mode::kFailover) {
    rank = nearnessOf(balancing, query.source, workload);
  }
  if (balancing.mode == LoadBalancing::Mode::kStrict && rank < balancing.preference.size()) {
    return Unfit::kTooFar;
  }
  if (std::find(query.tried.begin(), query.tried.end(), workload.uid) != query.tried.end()) {
    return Unfit::kTried;
  }
  out = {&endpoint, {*ip, port}, rank + (ip->isV4() == v4 ? kSameFamilyRank : 0)};
  return Unfit::kNone;
}

std::string sentenceOf(Unfit unfit, const BalanceQuery& query) {
  const std::string name = "service " + query.service.key;
  switch (unfit) {
    case Unfit::kNone:
    case Unfit::kUnhealthy:
      return name + " has no healthy endpoint";
    case Unfit::kElsewhere:
      return name + " has healthy endpoints in other networks only, to which no gateway is known";
    case Unfit::kNoAddress:
      return name + " has no healthy endpoint with an address of its IP families";
    case Unfit::kNoPort:
      return name + " has no port " + std::to_string(query.destination.port);
    case Unfit::kTooFar:
      return name + " has no healthy endpoint as near as it demands";
    case Unfit::kTried:
      return name + " has no other endpoint to try";
  }
  return name;
}

}  // namespace

std::vector<Candidate> candidatesOf(const BalanceQuery& query, std::string& why) {
  std::vector<Candidate> candidates;
  const uint16_t common = targetPortOf(query.service.ports, query.destination.port);
  Unfit furthest = Unfit::kNone;
  for (const ServiceEndpoint& endpoint : query.tables.endpointsOf(query.service.key)) {
    Candidate candidate;
    const Unfit unfit = fit(query, endpoint, common, candidate);
    if (unfit == Unfit::kNone) {
      candidates.push_back(candidate);
    } else {
      furthest = std::max(furthest, unfit);
    }
  }
  why = candidates.empty() ? sentenceOf(furthest, query) : "";
  return candidates;
}

uint64_t Random::next() {
  // splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    release();
    owner_ = std::exchange(other.owner_, nullptr);
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}

void Lease::succeeded() {
  if (state_ != nullptr) {
    state_->failures = 0;
    state_->ejections = 0;
  }
}

void Lease::failed(uint64_t nowMs) {
  if (state_ != nullptr) {
    owner_->fail(*state_, nowMs);
    release();
  }
}

void Lease::release() {
  if (state_ != nullptr) {
    owner_->release(*std::exchange(state_, nullptr));
  }
}

size_t Balancer::KeyHash::operator()(const Key& key) const {
  return std::hash<std::string_view>{}(key.uid) ^ (size_t{key.port} * 0x9e3779b97f4a7c15);
}

const EndpointState* Balancer::stateOf(std::string_view uid, uint16_t port) const {
  const auto found = states_.find({uid, port});
  return found == states_.end() ? nullptr : found->second.get();
}

Balancer::Pick Balancer::pick(const BalanceQuery& query, uint64_t nowMs) {
  Pick out;
  std::vector<Candidate> candidates = candidatesOf(query, out.why);
  if (candidates.empty()) {
    return out;
  }
  leaveOutEjected(candidates, nowMs);
  uint32_t best = 0;
  for (const Candidate& candidate : candidates) {
    best = std::max(best, candidate.rank);
  }
  std::erase_if(candidates, [&](const Candidate& candidate) { return candidate.rank < best; });
  out.candidate = draw(candidates);
  out.lease = leaseOf(out.candidate, nowMs);
  return out;
}

/// Those that stay out longest go first, up to half of all.
void Balancer::leaveOutEjected(std::vector<Candidate>& candidates, uint64_t nowMs) const {
  if (nowMs >= lastEjectionEndsMs_) {
    return;
  }
  const auto ejectedUntil = [&](const Candidate& candidate) {
    const EndpointState* state = stateOf(candidate.endpoint->workload->uid, candidate.target.port);
    return state == nullptr || state->ejectedUntilMs <= nowMs ? 0 : state->ejectedUntilMs;
  };
  std::vector<std::pair<uint64_t, size_t>> ejected;
  for (size_t i = 0; i < candidates.size(); i++) {
    if (const uint64_t until = ejectedUntil(candidates[i])) {
      ejected.emplace_back(until, i);
    }
  }
  std::sort(ejected.begin(), ejected.end(), std::greater<>());
  ejected.resize(std::min(ejected.size(), candidates.size() / 2));
  for (const auto& [until, index] : ejected) {
    candidates[index].endpoint = nullptr;
  }
  std::erase_if(candidates, [](const Candidate& one) { return one.endpoint == nullptr; });
}

/// Power of two choices. Both are drawn by capacity, the second from what the first leaves; with
/// equal load for its capacity the first one wins, so that idle endpoints share by capacity too.
const Candidate& Balancer::draw(const std::vector<Candidate>& candidates) {
  const auto capacityOf = [](const Candidate& one) -> uint64_t {
    return one.endpoint->workload->capacity;
  };
  uint64_t total = 0;
  for (const Candidate& candidate : candidates) {
    total += capacityOf(candidate);
  }
  const auto drawFrom = [&](uint64_t sum, const Candidate* without) {
    uint64_t at = random_.next() % sum;
    const Candidate* last = nullptr;
    for (const Candidate& candidate : candidates) {
      if (&candidate == without) {
        continue;
      }
      last = &candidate;
      if (at < capacityOf(candidate)) {
        break;
      }
      at -= capacityOf(candidate);
    }
    return last;
  };
  const Candidate* first = drawFrom(total, nullptr);
  if (candidates.size() == 1) {
    return *first;
  }
  const Candidate* second = drawFrom(total - capacityOf(*first), first);
  const auto activeOf = [&](const Candidate& one) -> uint64_t {
    const EndpointState* state = stateOf(one.endpoint->workload->uid, one.target.port);
    return state == nullptr ? 0 : state->active;
  };
  const bool secondIsFreer =
      activeOf(*second) * capacityOf(*first) < activeOf(*first) * capacityOf(*second);
  return secondIsFreer ? *second : *first;
}

/// Past kEndpointStatesMax endpoints are chosen without being counted.
Lease Balancer::leaseOf(const Candidate& candidate, uint64_t nowMs) {
  const std::string& uid = candidate.endpoint->workload->uid;
  auto found = states_.find({uid, candidate.target.port});
  if (found == states_.end()) {
    if (states_.size() >= sweepAt_) {
      sweep(nowMs);
    }
    if (states_.size() >= kEndpointStatesMax) {
      return {};
    }
    auto state = std::make_unique<EndpointState>();
    state->uid = uid;
    state->port = candidate.target.port;
    const Key key{state->uid, state->port};
    found = states_.emplace(key, std::move(state)).first;
  }
  found->second->active++;
  return {this, found->second.get()};
}

void Balancer::fail(EndpointState& state, uint64_t nowMs) {
  if (nowMs < state.ejectedUntilMs) {
    return;  // It was under way when the others failed.
  }
  if (state.failures == 0 || nowMs - state.firstFailureMs > kEjectWindowMs) {
    state.failures = 0;
    state.firstFailureMs = nowMs;
  }
  state.failures++;
  // Who comes back has one try.
  if (state.failures < kEjectFailures && state.ejections == 0) {
    return;
  }
  const uint32_t doublings = std::min<uint32_t>(state.ejections, 16);
  state.ejectedUntilMs = nowMs + std::min(kEjectMs << doublings, kEjectMaxMs);
  state.ejections++;
  state.failures = 0;
  lastEjectionEndsMs_ = std::max(lastEjectionEndsMs_, state.ejectedUntilMs);
}

void Balancer::release(EndpointState& state) {
  state.active--;
  if (state.active == 0 && state.failures == 0 && state.ejections == 0) {
    states_.erase({state.uid, state.port});
  }
}

/// Forgets endpoints that failed long ago and were not chosen since.
void Balancer::sweep(uint64_t nowMs) {
  std::erase_if(states_, [&](const auto& entry) {
    const EndpointState& state = *entry.second;
    return state.active == 0 && nowMs > state.firstFailureMs + kEjectWindowMs &&
           nowMs > state.ejectedUntilMs + kEjectMaxMs;
  });
  sweepAt_ = std::clamp(states_.size() * 2, size_t{1024}, kEndpointStatesMax);
}

}  // namespace weft::proxy
