// SPDX-License-Identifier: Apache-2.0
#include "proxy/direct_services.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "proxy/route.h"

namespace weft::proxy {
namespace {

constexpr double kChances = 4294967296.0;  // 2^32

/// How many of 2^32 chances `part` of `whole` are. All of them are one too many to say, so that
/// "never" and "always" are one chance wrong at most.
uint32_t chancesOf(uint64_t part, uint64_t whole) {
  const double chances = static_cast<double>(part) / static_cast<double>(whole) * kChances;
  return static_cast<uint32_t>(std::min(std::round(chances), kChances - 1));
}

/// The pods of the node that are in the mesh, as sources and as endpoints.
class Pods {
 public:
  Pods(const Tables& tables, const std::vector<LocalPod>& pods) {
    for (const LocalPod& pod : pods) {
      const auto workload = tables.workloadByUid(pod.workloadUid);
      if (workload == nullptr || workload->spiffeId() != pod.spiffeId || pod.expiresNs == 0 ||
          !isEnrolled(*workload)) {
        continue;
      }
      uids_.insert(workload->uid);
      sources_.emplace(viewOf(*workload), workload);
      for (const ServiceBinding& binding : workload->services) {
        std::set<uint16_t>& ports = services_[binding.service];
        for (const PortMap& port : binding.ports) {
          ports.insert(port.servicePort);
        }
      }
    }
  }

  bool has(const Workload& workload) const { return uids_.contains(workload.uid); }
  /// Calls `each` for one source of all that tables and balancer see alike, until it says false.
  bool eachSource(const std::function<bool(const Workload&)>& each) const {
    return std::all_of(sources_.begin(), sources_.end(),
                       [&](const auto& source) { return each(*source.second); });
  }
  /// The services that they are endpoints of, with the ports that they name.
  const std::map<std::string, std::set<uint16_t>>& services() const { return services_; }

 private:
  using View = std::tuple<std::string, std::string, std::string, std::string, std::string,
                          std::string, std::string>;
  static View viewOf(const Workload& source) {
    return {source.namespaceName,    source.network, source.locality.region, source.locality.zone,
            source.locality.subzone, source.node,    source.cluster};
  }

  std::set<std::string> uids_;
  std::map<View, std::shared_ptr<const Workload>> sources_;
  std::map<std::string, std::set<uint16_t>> services_;
};

/// Makes the tables of services.
class Maker {
 public:
  Maker(const Tables& tables, const Pods& pods, Balancer& balancer, uint64_t nowMs)
      : tables_(tables), pods_(pods), balancer_(balancer), nowMs_(nowMs) {}

  void add(const std::shared_ptr<const Service>& service, std::set<uint16_t> ports) {
    for (const PortMap& port : service->ports) {
      ports.insert(port.servicePort);
    }
    for (const Vip& vip : service->addresses) {
      if (vip.range.length != (vip.range.ip.isV4() ? 32 : 128)) {
        continue;
      }
      for (const uint16_t port : ports) {
        addOne(service, {vip.range.ip, port});
      }
    }
  }
  DirectServices take() { return std::move(out_); }

 private:
  using Weighed = std::vector<std::pair<Endpoint, uint32_t>>;

  void addOne(const std::shared_ptr<const Service>& service, const Endpoint& at) {
    std::optional<Weighed> all;
    const bool alike = pods_.eachSource([&](const Workload& source) {
      std::optional<Weighed> seen = choiceFor(service, at, source);
      const bool isSame = seen.has_value() && (!all.has_value() || *all == *seen);
      all = std::move(seen);
      return isSame;
    });
    if (alike && all.has_value()) {
      out_.tables[at] = picksOf(*all);
    }
  }

  /// What the proxy would choose from for `source`; nothing where the kernel is not to pick.
  std::optional<Weighed> choiceFor(const std::shared_ptr<const Service>& service,
                                   const Endpoint& at, const Workload& source) {
    if (wayOf({tables_, source, at, false, {}}).choice != service) {
      return std::nullopt;
    }
    const Balancer::Choice choice = balancer_.choiceOf({tables_, service, source, at, {}}, nowMs_);
    out_.untilMs = std::min(out_.untilMs, choice.untilMs);
    const auto isHere = [&](const Candidate& one) { return pods_.has(*one.endpoint->workload); };
    if (choice.near.size() > io::kServicePicksMax ||
        std::none_of(choice.near.begin(), choice.near.end(), isHere)) {
      return std::nullopt;
    }
    Weighed weighed;
    for (const Candidate& one : choice.near) {
      weighed.emplace_back(one.target, one.endpoint->workload->capacity);
    }
    return weighed;
  }

  const Tables& tables_;
  const Pods& pods_;
  Balancer& balancer_;
  const uint64_t nowMs_;
  DirectServices out_;
};

}  // namespace

io::ServicePicks picksOf(std::span<const std::pair<Endpoint, uint32_t>> weighed) {
  // Each place holds as much as all weights together, each target as often its own as there are
  // places. What a light one leaves of its place, a heavy one fills.
  uint64_t whole = 0;
  for (const auto& [target, weight] : weighed) {
    whole += weight;
  }
  io::ServicePicks picks;
  std::vector<uint64_t> parts;
  std::vector<size_t> light;
  std::vector<size_t> heavy;
  for (const auto& [target, weight] : weighed) {
    const size_t i = picks.size();
    parts.push_back(weight * uint64_t{weighed.size()});
    picks.push_back({target, UINT32_MAX, static_cast<uint32_t>(i)});
    (parts.back() < whole ? light : heavy).push_back(i);
  }
  while (!light.empty() && !heavy.empty()) {
    const size_t from = light.back();
    const size_t to = heavy.back();
    light.pop_back();
    picks[from].keep = chancesOf(parts[from], whole);
    picks[from].other = static_cast<uint32_t>(to);
    parts[to] -= whole - parts[from];
    if (parts[to] < whole) {
      heavy.pop_back();
      light.push_back(to);
    }
  }
  return picks;
}

DirectServices directServices(const Tables& tables, const std::vector<LocalPod>& pods,
                              Balancer& balancer, uint64_t nowMs) {
  const Pods here(tables, pods);
  Maker maker(tables, here, balancer, nowMs);
  for (const auto& [key, ports] : here.services()) {
    if (const auto service = tables.serviceByKey(key); service != nullptr) {
      maker.add(service, ports);
    }
  }
  return maker.take();
}

}  // namespace weft::proxy
