// SPDX-License-Identifier: Apache-2.0
#include "proxy/direct_services.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "delta_writer.h"
#include "mesh_abi.h"
#include "picks.h"
#include "proxy/route.h"

namespace weft::proxy {
namespace {

using Mode = LoadBalancing::Mode;
using Shares = std::map<Endpoint, double>;

constexpr uint32_t kFirstSeed = 61120;
constexpr uint32_t kWorlds = 600;
/// Of the least likely endpoint of a world by chance one in 10^11 such series has none.
constexpr int kDraws = 400;
/// By chance one of 10^9 draws is further off.
constexpr double kDeviations = 6.2;
constexpr const char* kVips[] = {"10.96.0.1", "10.96.0.2", "fd00:96::1"};
constexpr uint16_t kPorts[] = {80, 81, 15008};

/// How likely the kernel picks each target.
Shares sharesOf(const io::ServicePicks& picks) {
  Shares shares;
  const double place = 1.0 / static_cast<double>(picks.size());
  for (const io::ServicePick& pick : picks) {
    // Of the last chance nobody can say whether it stays.
    const double stays = pick.keep == UINT32_MAX ? 1 : std::ldexp(pick.keep, -32);
    shares[pick.target] += place * stays;
    shares[picks.at(pick.other).target] += place * (1 - stays);
  }
  std::erase_if(shares, [](const auto& share) { return share.second == 0; });
  return shares;
}

bool isAbout(double a, double b) {
  return std::abs(a - b) < 1e-6;
}

Endpoint at(const char* ip, uint16_t port) {
  return {*Ip::parse(ip), port};
}

/// Distinct targets.
Endpoint target(size_t i) {
  Endpoint to = at("10.0.0.0", 8080);
  to.ip.bytes[14] = static_cast<uint8_t>(i >> 8);
  to.ip.bytes[15] = static_cast<uint8_t>(i);
  return to;
}

LocalPod podOf(const Workload& workload) {
  return {"pod-" + workload.uid, workload.uid, workload.spiffeId(), 1, 1};
}

/// How often each kind of answer came, so that a draw that says little is noticed.
struct Seen {
  size_t published = 0;
  size_t mixed = 0;      ///< With endpoints here and elsewhere.
  size_t refused = 0;    ///< There is nothing to choose from.
  size_t elsewhere = 0;  ///< No endpoint is here.
  size_t unlike = 0;     ///< Sources would choose from different ones.
};

/// A random mesh with some pods of one node, and others.
class World {
 public:
  explicit World(uint32_t seed) : random_(seed) {
    DeltaWriter delta;
    const size_t here = 1 + below(3);
    for (size_t i = 0; i < here + 4; i++) {
      const Workload made = workload(i, i < here);
      delta.add(made);
      if (i < here) {
        pods_.push_back(podOf(made));
        uids_.insert(made.uid);
      }
    }
    for (const char* name : {"a", "b", "c"}) {
      delta.add(service(name));
    }
    tables_ = delta.policiesReceived().applyTo(Tables::empty()).value();
  }

  void check(Seen& seen) {
    Balancer balancer(1);
    const io::ServiceTables all = directServices(*tables_, pods_, balancer, 0).tables;
    for (const char* vip : kVips) {
      for (const uint16_t port : kPorts) {
        CAPTURE(vip);
        CAPTURE(port);
        const auto found = all.find(at(vip, port));
        checkOne(at(vip, port), found == all.end() ? nullptr : &found->second, seen);
      }
    }
  }

 private:
  size_t below(size_t bound) { return random_() % bound; }
  template <typename T, size_t N>
  T pick(const T (&all)[N]) {
    return all[below(N)];
  }

  Workload workload(size_t i, bool isHere) {
    Workload made;
    made.uid = "w" + std::to_string(i);
    made.namespaceName = pick({"n0", "n0", "n0", "n1"});
    made.serviceAccount = made.uid;
    made.trustDomain = "td";
    made.hbone = below(8) != 0;
    made.healthy = below(5) != 0;
    made.capacity = pick<uint32_t>({0, 1, 1, 2, 3});
    made.node = isHere ? "here" : pick({"there", "elsewhere"});
    made.locality = {"r", isHere ? "z1" : pick({"z1", "z2"}), ""};
    made.network = below(12) == 0 ? "far" : "";
    made.addresses = {target(i).ip};
    if (below(2) == 0) {
      Ip six = *Ip::parse("fd00::");
      six.bytes[15] = static_cast<uint8_t>(i);
      made.addresses.push_back(six);
    }
    for (const char* name : {"n0/a", "n0/b", "n1/c"}) {
      if (below(2) == 0) {
        made.services.push_back({name, {{80, 8080}}});
        if (below(2) == 0) {
          made.services.back().ports.push_back({81, pick<uint16_t>({8081, 15008})});
        }
      }
    }
    return made;
  }

  Service service(const std::string& name) {
    Service made;
    made.key = (name == "c" ? "n1/" : "n0/") + name;
    made.namespaceName = name == "c" ? "n1" : "n0";
    for (const char* ip : kVips) {
      if (below(2) == 0) {
        made.addresses.push_back(vip(ip));
        if (below(8) == 0) {
          made.addresses.back().range = rangeOf(*Ip::parse(ip), 24);
        }
      }
    }
    made.ports = {{80, 0}, {15008, 8080}};
    made.ownNamespaceOnly = below(4) == 0;
    made.waypoint = below(12) == 0;
    made.families = pick({Service::Families::kAutomatic, Service::Families::kDual,
                          Service::Families::kIpv4, Service::Families::kIpv6});
    made.loadBalancing.mode =
        pick({Mode::kAny, Mode::kAny, Mode::kStrict, Mode::kFailover, Mode::kPassthrough});
    made.loadBalancing.allowUnhealthy = below(6) == 0;
    if (below(2) == 0) {
      made.loadBalancing.preference = {Nearness::kZone};
    }
    return made;
  }

  /// What the proxy makes of it for one source: how often it chose each target of which service.
  std::map<Endpoint, int> drawn(const Workload& source, const Endpoint& to, bool& isHere,
                                std::string& service) {
    std::map<Endpoint, int> out;
    Balancer balancer(random_());
    for (int i = 0; i < kDraws; i++) {
      Way way = wayOf({*tables_, source, to, false, {}});
      if (way.choice == nullptr) {
        continue;
      }
      service = way.choice->key;
      const Balancer::Pick pick = balancer.pick({*tables_, way.choice, source, to, {}}, 0);
      if (pick.candidate.endpoint != nullptr) {
        const Workload& workload = *pick.candidate.endpoint->workload;
        isHere = isHere || (uids_.contains(workload.uid) && workload.hbone);
        out[pick.candidate.target]++;
      }
    }
    return out;
  }

  void checkOne(const Endpoint& to, const io::ServicePicks* picks, Seen& seen) {
    const Shares shares = picks == nullptr ? Shares() : sharesOf(*picks);
    Choices choices;
    bool isHere = false;
    bool isInMesh = false;
    for (const LocalPod& pod : pods_) {
      const auto source = tables_->workloadByUid(pod.workloadUid);
      if (!source->hbone) {
        continue;
      }
      isInMesh = true;
      std::set<Endpoint> chosen;
      std::string service;
      for (const auto& [target, times] : drawn(*source, to, isHere, service)) {
        chosen.insert(target);
        if (picks != nullptr) {
          const auto known = shares.find(target);
          REQUIRE(known != shares.end());
          const double share = known->second;
          const double most = kDeviations * std::sqrt(kDraws * share * (1 - share));
          REQUIRE(std::abs(times - kDraws * share) <= most + 1e-3);
        }
      }
      choices.emplace(service, std::move(chosen));
    }
    if (picks != nullptr) {
      REQUIRE(isHere);
      REQUIRE(choices.size() == 1);
      REQUIRE(choices.begin()->second.size() == shares.size());
      seen.published++;
      seen.mixed += shares.size() > 1 ? 1 : 0;
    } else if (!isInMesh || isEmpty(choices)) {
      seen.refused++;
    } else if (choices.size() > 1) {
      seen.unlike++;
    } else {
      // A range is left to the proxy, too.
      REQUIRE((!isHere || isOfRange(to)));
      seen.elsewhere++;
    }
  }

  using Choices = std::set<std::pair<std::string, std::set<Endpoint>>>;
  static bool isEmpty(const Choices& choices) {
    return std::all_of(choices.begin(), choices.end(),
                       [](const auto& each) { return each.second.empty(); });
  }
  bool isOfRange(const Endpoint& to) const {
    const auto service = tables_->serviceByVip(to.ip, *tables_->workloadByUid(sourceUid()));
    const Cidr alone = vip(to.ip.toString()).range;
    return std::none_of(service->addresses.begin(), service->addresses.end(),
                        [&](const Vip& each) { return each.range == alone; });
  }
  std::string sourceUid() const {
    for (const LocalPod& pod : pods_) {
      if (tables_->workloadByUid(pod.workloadUid)->hbone) {
        return pod.workloadUid;
      }
    }
    return "";
  }

  std::mt19937 random_;
  std::vector<LocalPod> pods_;
  std::set<std::string> uids_;
  std::shared_ptr<const Tables> tables_;
};

TEST_CASE("targets are as likely as they weigh, whatever they weigh") {
  std::mt19937 random(7);
  for (const size_t count : {1, 2, 3, 7, 100, 4096}) {
    for (const uint32_t most : {1U, 3U, 1000U, UINT32_MAX}) {
      CAPTURE(count);
      CAPTURE(most);
      std::vector<std::pair<Endpoint, uint32_t>> weighed;
      double whole = 0;
      for (size_t i = 0; i < count; i++) {
        weighed.emplace_back(target(i), 1 + random() % most);
        whole += weighed.back().second;
      }
      const io::ServicePicks picks = picksOf(weighed);
      REQUIRE(picks.size() == count);
      const Shares shares = sharesOf(picks);
      for (const auto& [to, weight] : weighed) {
        const auto share = shares.find(to);
        REQUIRE(isAbout(share == shares.end() ? 0 : share->second, weight / whole));
      }
    }
  }
}

TEST_CASE("what the kernel draws is a place of the table, and each as often as the others") {
  for (const uint32_t count : {1U, 2U, 3U, 4096U}) {
    CHECK(weft_pick_place(0, count) == 0);
    CHECK(weft_pick_place(UINT32_MAX, count) == count - 1);
  }
  std::map<uint32_t, int> places;
  for (uint32_t chance = 0; chance < 3000; chance++) {
    places[weft_pick_place(chance * 1431655U, 3)]++;
  }
  for (const uint32_t place : {0U, 1U, 2U}) {
    CHECK(std::abs(places[place] - 1000) <= 1);
  }
  weft_pick pick{};
  pick.keep = 5;
  CHECK(weft_pick_stays(&pick, 4));
  CHECK_FALSE(weft_pick_stays(&pick, 5));
}

TEST_CASE("the kernel picks from what the proxy would choose from, in random worlds") {
  MESSAGE("seeds " << kFirstSeed << " to " << kFirstSeed + kWorlds - 1);
  Seen seen;
  for (uint32_t seed = kFirstSeed; seed < kFirstSeed + kWorlds; seed++) {
    CAPTURE(seed);
    World(seed).check(seen);
  }
  CAPTURE(seen.published);
  CAPTURE(seen.mixed);
  CAPTURE(seen.refused);
  CAPTURE(seen.elsewhere);
  CAPTURE(seen.unlike);
  CHECK(seen.published > 300);
  CHECK(seen.mixed > 200);
  CHECK(seen.refused > 300);
  CHECK(seen.elsewhere > 100);
  CHECK(seen.unlike > 30);
}

/// A service with one endpoint here and one elsewhere.
struct One {
  Workload here = workload("here", "10.0.0.1");
  Workload there = workload("there", "10.0.0.2");
  Service service;
  std::vector<LocalPod> pods = {podOf(here)};
  Balancer balancer{1};
  std::shared_ptr<const Tables> tables;

  One() {
    service.key = "shop/web";
    service.namespaceName = "shop";
    service.addresses = {vip("10.96.0.1")};
  }
  static Workload workload(const std::string& name, const char* ip) {
    Workload made;
    made.uid = name;
    made.namespaceName = "shop";
    made.serviceAccount = name;
    made.trustDomain = "td";
    made.addresses = {*Ip::parse(ip)};
    made.hbone = true;
    made.services = {{"shop/web", {{80, 8080}}}};
    return made;
  }
  DirectServices ask(uint64_t nowMs = 0) {
    if (tables == nullptr) {
      tables = DeltaWriter().add(here).add(there).add(service).applyTo(Tables::empty()).value();
    }
    return directServices(*tables, pods, balancer, nowMs);
  }
};

TEST_CASE("each address and port of a service has a table, with endpoints of all nodes") {
  One one;
  one.service.addresses.push_back(vip("10.96.0.2"));
  one.here.services[0].ports.push_back({81, 8081});
  const io::ServiceTables all = one.ask().tables;
  CHECK(all.size() == 4);
  CHECK(sharesOf(all.at(at("10.96.0.2", 80))) ==
        Shares{{at("10.0.0.1", 8080), 0.5}, {at("10.0.0.2", 8080), 0.5}});
  CHECK(sharesOf(all.at(at("10.96.0.1", 81))) == Shares{{at("10.0.0.1", 8081), 1}});
}

TEST_CASE("what is the proxy's has no table") {
  One one;
  SUBCASE("a service whose endpoints are all elsewhere") {
    one.here.services.clear();
  }
  SUBCASE("one that is reached through its waypoint") {
    one.service.waypoint = true;
  }
  SUBCASE("one whose addresses are the destinations themselves") {
    one.service.loadBalancing.mode = Mode::kPassthrough;
  }
  SUBCASE("a range of addresses") {
    one.service.addresses[0].range = rangeOf(*Ip::parse("10.96.0.0"), 16);
  }
  SUBCASE("one that nobody is known of") {
    one.service.key = "shop/other";
  }
  SUBCASE("when the pod has no certificate") {
    one.pods[0].expiresNs = 0;
  }
  SUBCASE("when the pod is no longer who it was") {
    one.here.serviceAccount = "other";
  }
  SUBCASE("when the pod is not in the mesh") {
    one.here.hbone = false;
  }
  SUBCASE("when another pod of the node would be sent elsewhere") {
    one.there.namespaceName = "other";
    one.pods.push_back(podOf(one.there));
    CHECK(one.ask().tables.size() == 1);
    one.tables = nullptr;
    one.service.ownNamespaceOnly = true;
  }
  SUBCASE("when another pod of the node is in another place, and has others near it") {
    one.here.locality = {"r", "z1", ""};
    one.there.locality = {"r", "z2", ""};
    one.pods.push_back(podOf(one.there));
    CHECK(one.ask().tables.size() == 1);
    one.tables = nullptr;
    one.service.loadBalancing.mode = Mode::kFailover;
    one.service.loadBalancing.preference = {Nearness::kZone};
  }
  CHECK(one.ask().tables.empty());
}

TEST_CASE("a service may have as many endpoints as one table has places, and no more") {
  One one;
  for (const bool isOver : {false, true}) {
    DeltaWriter delta;
    delta.add(one.here).add(one.service);
    for (size_t i = 1; i < io::kServicePicksMax + (isOver ? 1 : 0); i++) {
      Workload more = one.there;
      more.uid = "there-" + std::to_string(i);
      more.addresses = {target(i + 256).ip};
      delta.add(more);
    }
    one.tables = delta.applyTo(Tables::empty()).value();
    CHECK(one.ask().tables.size() == (isOver ? 0 : 1));
  }
}

TEST_CASE("where the endpoint that fails is the one here, nothing is picked") {
  One one;
  for (uint32_t i = 0; i < kEjectFailures; i++) {
    one.balancer.note("here", 8080, false, 1000);
  }
  const DirectServices without = one.ask(1000);
  CHECK(without.tables.empty());
  CHECK(without.untilMs == 1000 + kEjectMs);
  CHECK(one.ask(without.untilMs).tables.size() == 1);
}

TEST_CASE("an endpoint that fails is left out, and it is told for how long") {
  One one;
  CHECK(one.ask().untilMs == UINT64_MAX);
  for (uint32_t i = 0; i < kEjectFailures; i++) {
    one.balancer.note("there", 8080, false, 1000);
  }
  const DirectServices without = one.ask(1000);
  CHECK(sharesOf(without.tables.at(at("10.96.0.1", 80))) == Shares{{at("10.0.0.1", 8080), 1}});
  CHECK(without.untilMs == 1000 + kEjectMs);
  CHECK(sharesOf(one.ask(without.untilMs).tables.at(at("10.96.0.1", 80))).size() == 2);
}

}  // namespace
}  // namespace weft::proxy
