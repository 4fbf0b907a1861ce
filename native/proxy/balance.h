// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ip.h"
#include "proxy/tables.h"

namespace weft::proxy {

inline constexpr size_t kAttemptsMax = 3;           ///< Endpoints tried for one connection.
inline constexpr uint32_t kEjectFailures = 3;       ///< Connects in a row that fail, and it is out.
inline constexpr uint64_t kEjectWindowMs = 60'000;  ///< Failures further apart are no row.
inline constexpr uint64_t kEjectMs = 5'000;         ///< The first time out; each next one doubles.
inline constexpr uint64_t kEjectMaxMs = 300'000;    ///< The longest.
inline constexpr size_t kEndpointStatesMax = 65'536;  ///< Endpoints remembered by one worker.
inline constexpr size_t kPlansMax = 4'096;            ///< Services prepared for choosing, and
inline constexpr size_t kPlanEndpointsMax = 65'536;   ///< endpoints in these, by one worker.

/// A small fast generator for choices that need no secrecy (endpoint picks, trace ids).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed | 1) {}
  uint64_t next();
  /// 0 <= result < bound; bound > 0.
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }

 private:
  uint64_t state_;
};

/// What one worker knows of one endpoint: a workload and the port of its application.
struct EndpointState {
  std::string uid;
  uint16_t port = 0;
  uint32_t active = 0;     ///< Connections that hold a lease.
  uint32_t failures = 0;   ///< Connects that failed since the last one that did not.
  uint32_t ejections = 0;  ///< In a row, without a connect between them that succeeded.
  uint64_t firstFailureMs = 0;
  uint64_t ejectedUntilMs = 0;
};

class Balancer;

/// One connection's claim on an endpoint, from the choice of it to its end: counted as active until
/// the lease dies. It may be empty, and then does nothing. Same thread as the balancer, which
/// outlives it.
class Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept { *this = std::move(other); }
  Lease& operator=(Lease&& other) noexcept;
  ~Lease() { release(); }

  /// The endpoint took the connection. Ends its row of failures, and its time out.
  void succeeded();
  /// The endpoint could not be reached, or did not prove its identity; kEjectFailures of this in a
  /// row within kEjectWindowMs leave it out for a while. The lease ends.
  void failed(uint64_t nowMs);

 private:
  friend class Balancer;
  Lease(Balancer* owner, EndpointState* state) : owner_(owner), state_(state) {}
  void release();

  Balancer* owner_ = nullptr;
  EndpointState* state_ = nullptr;
};

/// A connection that wants an endpoint of a service. Refers to what it is asked about.
struct BalanceQuery {
  const Tables& tables;
  const std::shared_ptr<const Service>& service;
  const Workload& source;
  Endpoint destination;                ///< The service's address and port.
  std::span<const std::string> tried;  ///< Uids of endpoints that already failed this connection.
  Endpoint picked{};  ///< Chosen already, if it can be: its target. Port 0: nothing was.
};

/// An endpoint that can serve a query.
struct Candidate {
  const ServiceEndpoint* endpoint = nullptr;  ///< Valid as long as the query's tables.
  Endpoint target;                            ///< Its application.
  uint32_t rank = 0;                          ///< The higher, the nearer to the source.
};

/// The port of the application behind `servicePort` at an endpoint with this binding: the binding's
/// own word, else the service's; 0 when neither has one.
uint16_t targetPortOf(const Service& service, const ServiceBinding& binding, uint16_t servicePort);

/// All endpoints that could serve `query`, near or far, without regard to load and ejection; `why`
/// says why there is none. Pure.
std::vector<Candidate> candidatesOf(const BalanceQuery& query, std::string& why);

/// Chooses endpoints: among the nearest ones that were not ejected, the one that was picked before,
/// else the less busy of two drawn by capacity. One for each worker, on its thread: it knows the
/// worker's own connections only.
class Balancer {
 public:
  explicit Balancer(uint64_t seed) : random_(seed) {}
  Balancer(const Balancer&) = delete;
  Balancer& operator=(const Balancer&) = delete;

  struct Pick {
    Candidate candidate;  ///< Without an endpoint when there is none.
    Lease lease;
    std::string why;  ///< There is none.
  };
  /// Never leaves out more than half of the candidates because they were ejected.
  Pick pick(const BalanceQuery& query, uint64_t nowMs);

  /// What pick() chooses from now.
  struct Choice {
    std::span<const Candidate> near;  ///< Valid until the next call, and as the query's tables.
    uint64_t untilMs = 0;             ///< When it is another one by itself.
  };
  Choice choiceOf(const BalanceQuery& query, uint64_t nowMs) {
    const Plan& plan = planFor(query, nowMs);
    return {plan.near, plan.untilMs};
  }
  /// Somebody else connected to an endpoint, or could not: counts as Lease::succeeded() or failed()
  /// would.
  void note(std::string_view uid, uint16_t port, bool reached, uint64_t nowMs);

  /// Null when nothing is remembered of the endpoint.
  const EndpointState* stateOf(std::string_view uid, uint16_t port) const;
  size_t stateCount() const { return states_.size(); }
  /// How many services are prepared for choosing now, and how often one was, for tests.
  size_t planCount() const { return plans_.size(); }
  uint64_t plansMade() const { return plansMade_; }
  /// Rises with each endpoint that is left out or comes back by what was reported of it.
  uint64_t ejections() const { return ejections_; }

 private:
  friend class Lease;
  struct Key {
    std::string_view uid;  // into the state it belongs to
    uint16_t port = 0;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };

  /// A query for a service, but for its source.
  struct PlanKey {
    const Service* service = nullptr;
    uint16_t port = 0;
    bool v4 = false;
    bool operator==(const PlanKey&) const = default;
  };
  struct PlanKeyHash {
    size_t operator()(const PlanKey& key) const;
  };
  /// Where sources are for which a plan holds.
  struct Place {
    std::string network, region, zone, subzone, node, cluster;
  };
  /// What is chosen from, and for how long that holds.
  struct Plan {
    std::weak_ptr<const Service> service;
    std::weak_ptr<const EndpointList> endpoints;
    Place place;
    uint64_t ejections = 0;
    uint64_t untilMs = 0;
    std::vector<Candidate> near;
    std::vector<uint64_t> sums;  ///< Of the capacities of `near`, up to and with each.
    std::string why;             ///< `near` is empty.
  };

  Plan makePlan(const BalanceQuery& query, uint64_t nowMs) const;
  const Plan& planFor(const BalanceQuery& query, uint64_t nowMs);
  bool holds(const Plan& plan, const BalanceQuery& query, uint64_t nowMs) const;
  uint64_t leaveOutEjected(std::vector<Candidate>& candidates, uint64_t nowMs) const;
  const Candidate& draw(const Plan& plan);
  Lease leaseOf(std::string_view uid, uint16_t port, uint64_t nowMs);
  void succeed(EndpointState& state);
  void fail(EndpointState& state, uint64_t nowMs);
  void release(EndpointState& state);
  void sweep(uint64_t nowMs);

  Random random_;
  std::unordered_map<Key, std::unique_ptr<EndpointState>, KeyHash> states_;
  std::unordered_map<PlanKey, Plan, PlanKeyHash> plans_;
  size_t planned_ = 0;  // endpoints in plans_
  uint64_t plansMade_ = 0;
  uint64_t ejections_ = 0;           // rises with each endpoint that is left out or comes back
  uint64_t lastEjectionEndsMs_ = 0;  // later than this nobody is ejected
  size_t sweepAt_ = 1024;            // so many states are looked through for stale ones
};

}  // namespace weft::proxy
