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
uint16_t mappedPort(std::span<const PortMap> ports, uint16_t servicePort) {
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

/// The one with this target; null when there is none, as for port 0.
const Candidate* candidateAt(const std::vector<Candidate>& candidates, const Endpoint& target) {
  if (target.port == 0) {
    return nullptr;
  }
  const auto found = std::find_if(candidates.begin(), candidates.end(),
                                  [&](const Candidate& one) { return one.target == target; });
  return found == candidates.end() ? nullptr : &*found;
}

/// Why an endpoint cannot serve a query, in the order in which it is found out.
enum class Unfit { kNone, kUnhealthy, kElsewhere, kNoAddress, kNoPort, kTooFar, kTried };

Unfit fit(const BalanceQuery& query, const ServiceEndpoint& endpoint, uint16_t commonPort,
          Candidate& out) {
  const LoadBalancing& balancing = query.service->loadBalancing;
  const Workload& workload = *endpoint.workload;
  if ((!workload.healthy && !balancing.allowUnhealthy) || workload.capacity == 0) {
    return Unfit::kUnhealthy;
  }
  if (workload.network != query.source.network) {
    return Unfit::kElsewhere;
  }
  const bool v4 = query.destination.ip.isV4();
  const std::optional<Ip> ip = addressOf(workload, *query.service, v4);
  if (!ip.has_value()) {
    return Unfit::kNoAddress;
  }
  const uint16_t own = mappedPort(endpoint.binding->ports, query.destination.port);
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
  std::string name = "service " + query.service->key;
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

uint16_t targetPortOf(const Service& service, const ServiceBinding& binding, uint16_t servicePort) {
  const uint16_t own = mappedPort(binding.ports, servicePort);
  return own != 0 ? own : mappedPort(service.ports, servicePort);
}

std::vector<Candidate> candidatesOf(const BalanceQuery& query, std::string& why) {
  std::vector<Candidate> candidates;
  const uint16_t common = mappedPort(query.service->ports, query.destination.port);
  Unfit furthest = Unfit::kNone;
  for (const ServiceEndpoint& endpoint : query.tables.endpointsOf(query.service->key)) {
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
    owner_->succeed(*state_);
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

size_t Balancer::PlanKeyHash::operator()(const PlanKey& key) const {
  return std::hash<const Service*>{}(key.service) ^
         (size_t{key.port} * 2 + (key.v4 ? 1 : 0)) * 0x9e3779b97f4a7c15;
}

Balancer::Pick Balancer::pick(const BalanceQuery& query, uint64_t nowMs) {
  // What was already tried is left out of a plan of its own, which is not kept.
  std::optional<Plan> once;
  if (!query.tried.empty()) {
    once = makePlan(query, nowMs);
  }
  const Plan& plan = once.has_value() ? *once : planFor(query, nowMs);
  Pick out;
  if (plan.near.empty()) {
    out.why = plan.why;
    return out;
  }
  const Candidate* picked = candidateAt(plan.near, query.picked);
  out.candidate = picked != nullptr ? *picked : draw(plan);
  out.lease = leaseOf(out.candidate.endpoint->workload->uid, out.candidate.target.port, nowMs);
  return out;
}

void Balancer::note(std::string_view uid, uint16_t port, bool reached, uint64_t nowMs) {
  if (reached && stateOf(uid, port) == nullptr) {
    return;  // nothing is held against it
  }
  Lease lease = leaseOf(uid, port, nowMs);
  if (reached) {
    lease.succeeded();
  } else {
    lease.failed(nowMs);
  }
}

const Balancer::Plan& Balancer::planFor(const BalanceQuery& query, uint64_t nowMs) {
  const PlanKey key{query.service.get(), query.destination.port, query.destination.ip.isV4()};
  const auto found = plans_.find(key);
  if (found != plans_.end()) {
    if (holds(found->second, query, nowMs)) {
      return found->second;
    }
    planned_ -= found->second.near.size();
    plans_.erase(found);
  }
  Plan plan = makePlan(query, nowMs);
  plansMade_++;
  if (plans_.size() >= kPlansMax || planned_ + plan.near.size() > kPlanEndpointsMax) {
    plans_.clear();
    planned_ = 0;
  }
  planned_ += plan.near.size();
  return plans_.emplace(key, std::move(plan)).first->second;
}

/// The plan's pointers are compared by what owns them: an address may be used again, an owner not.
bool Balancer::holds(const Plan& plan, const BalanceQuery& query, uint64_t nowMs) const {
  const auto same = [](const auto& weak, const auto& shared) {
    return !weak.owner_before(shared) && !shared.owner_before(weak);
  };
  const Workload& source = query.source;
  const Place& place = plan.place;
  return plan.ejections == ejections_ && nowMs < plan.untilMs &&
         same(plan.service, query.service) &&
         same(plan.endpoints, query.tables.endpointListOf(query.service->key)) &&
         place.network == source.network && place.region == source.locality.region &&
         place.zone == source.locality.zone && place.subzone == source.locality.subzone &&
         place.node == source.node && place.cluster == source.cluster;
}

Balancer::Plan Balancer::makePlan(const BalanceQuery& query, uint64_t nowMs) const {
  const Workload& source = query.source;
  Plan plan;
  plan.service = query.service;
  plan.endpoints = query.tables.endpointListOf(query.service->key);
  plan.place = {source.network,       source.locality.region,
                source.locality.zone, source.locality.subzone,
                source.node,          source.cluster};
  plan.ejections = ejections_;
  plan.near = candidatesOf(query, plan.why);
  plan.untilMs = leaveOutEjected(plan.near, nowMs);
  uint32_t best = 0;
  for (const Candidate& candidate : plan.near) {
    best = std::max(best, candidate.rank);
  }
  std::erase_if(plan.near, [&](const Candidate& candidate) { return candidate.rank < best; });
  plan.near.shrink_to_fit();
  uint64_t sum = 0;
  for (const Candidate& candidate : plan.near) {
    sum += candidate.endpoint->workload->capacity;
    plan.sums.push_back(sum);
  }
  return plan;
}

/// Those that stay out longest go first, up to half of all. Returns when the first one comes back.
uint64_t Balancer::leaveOutEjected(std::vector<Candidate>& candidates, uint64_t nowMs) const {
  if (nowMs >= lastEjectionEndsMs_) {
    return UINT64_MAX;
  }
  std::vector<std::pair<uint64_t, size_t>> ejected;
  for (size_t i = 0; i < candidates.size(); i++) {
    const Candidate& one = candidates[i];
    const EndpointState* state = stateOf(one.endpoint->workload->uid, one.target.port);
    if (state != nullptr && state->ejectedUntilMs > nowMs) {
      ejected.emplace_back(state->ejectedUntilMs, i);
    }
  }
  std::sort(ejected.begin(), ejected.end(), std::greater<>());
  ejected.resize(std::min(ejected.size(), candidates.size() / 2));
  for (const auto& [until, index] : ejected) {
    candidates[index].endpoint = nullptr;
  }
  std::erase_if(candidates, [](const Candidate& one) { return one.endpoint == nullptr; });
  return ejected.empty() ? UINT64_MAX : ejected.back().first;
}

/// Power of two choices. Both are drawn by capacity, the second from what the first leaves; with
/// equal load for its capacity the first one wins, so that idle endpoints share by capacity too.
const Candidate& Balancer::draw(const Plan& plan) {
  const auto at = [&](uint64_t point) {
    return static_cast<size_t>(std::upper_bound(plan.sums.begin(), plan.sums.end(), point) -
                               plan.sums.begin());
  };
  const auto capacityOf = [&](size_t i) -> uint64_t {
    return plan.near[i].endpoint->workload->capacity;
  };
  const auto activeOf = [&](size_t i) -> uint64_t {
    const Candidate& one = plan.near[i];
    const EndpointState* state = stateOf(one.endpoint->workload->uid, one.target.port);
    return state == nullptr ? 0 : state->active;
  };
  const uint64_t total = plan.sums.back();
  const size_t first = at(random_.next() % total);
  if (plan.near.size() == 1) {
    return plan.near[first];
  }
  uint64_t point = random_.next() % (total - capacityOf(first));
  if (point >= plan.sums[first] - capacityOf(first)) {
    point += capacityOf(first);
  }
  const size_t second = at(point);
  const bool secondIsFreer =
      activeOf(second) * capacityOf(first) < activeOf(first) * capacityOf(second);
  return plan.near[secondIsFreer ? second : first];
}

/// Past kEndpointStatesMax endpoints are chosen without being counted.
Lease Balancer::leaseOf(std::string_view uid, uint16_t port, uint64_t nowMs) {
  auto found = states_.find({uid, port});
  if (found == states_.end()) {
    if (states_.size() >= sweepAt_) {
      sweep(nowMs);
    }
    if (states_.size() >= kEndpointStatesMax) {
      return {};
    }
    auto state = std::make_unique<EndpointState>();
    state->uid = uid;
    state->port = port;
    const Key key{state->uid, state->port};
    found = states_.emplace(key, std::move(state)).first;
  }
  found->second->active++;
  return {this, found->second.get()};
}

void Balancer::succeed(EndpointState& state) {
  if (state.ejectedUntilMs > 0) {
    state.ejectedUntilMs = 0;
    ejections_++;
  }
  state.failures = 0;
  state.ejections = 0;
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
  ejections_++;
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
