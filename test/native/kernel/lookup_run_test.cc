// SPDX-License-Identifier: Apache-2.0
// Who takes a connection that arrives in a pod: every way that the program can end, with its
// counter, for each family. Needs root.
#include "kernel/lookup_run.h"

#include <doctest/doctest.h>

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

using weft::Ip;
using weft::test::Arrival;
using weft::test::CounterSteps;
using weft::test::hasRoot;
using weft::test::kSpellings;
using weft::test::LookupRun;
using weft::test::Spelling;
using weft::test::Taker;
using Steps = std::map<std::string, uint64_t>;

namespace {

constexpr uint16_t kPlaintext = 15006;
constexpr uint16_t kHbone = 15008;
constexpr uint16_t kApp = 8080;
constexpr uint64_t kForEver = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kTooLong = WEFT_PASS_NS + 1;
constexpr uint64_t kStrangersNetns = 0x5712'a46e;

/// One way for a connection from the client to the pod's application.
struct Row {
  const char* name;
  /// Puts things in place; may change what arrives.
  std::function<void(LookupRun&, Arrival&)> prepare;
  Taker taker;
  Steps steps;
};

void listenAtBoth(LookupRun& lookup) {
  lookup.listen(kPlaintext);
  lookup.listen(kHbone);
}

/// Runs every row in every family; the proxy listens, unless a row takes that into its own hands.
void runAll(const std::vector<Row>& rows, bool listens = true) {
  LookupRun lookup;
  CounterSteps steps(lookup.agent());
  for (const Row& row : rows) {
    for (const Spelling spelling : kSpellings) {
      INFO(row.name, ", family ", static_cast<int>(spelling));
      if (listens) {
        listenAtBoth(lookup);
      }
      Arrival arrival{lookup.client().at(spelling, 40'000), lookup.own().at(spelling, kApp),
                      weft::test::familyOf(spelling)};
      row.prepare(lookup, arrival);
      CHECK(lookup.run(arrival) == row.taker);
      CHECK(steps.take() == row.steps);
      lookup.clear();
    }
  }
}

/// The client's connection is on its way, as its connect() left it.
weft_direct authorized(const LookupRun& lookup) {
  weft_direct direct{};
  direct.destination = lookup.own().netns.cookie;
  direct.born_ns = LookupRun::nowNs();
  return direct;
}

weft::io::DirectVerdict allow(const LookupRun& lookup, uint16_t port = 0) {
  return {lookup.client().netns.cookie, port, true, kForEver};
}

weft::io::DirectVerdict deny(const LookupRun& lookup, uint16_t port = 0) {
  return {lookup.client().netns.cookie, port, false, kForEver};
}

void nothing(LookupRun&, Arrival&) {}

}  // namespace

TEST_CASE("what is no connection from outside is left to whoever listens") {
  if (!hasRoot()) {
    return;
  }
  const auto to = [](const char* ip) {
    return [ip](LookupRun&, Arrival& arrival) {
      arrival.local.ip = *Ip::parse(ip);
      arrival.family = arrival.local.ip.isV4() ? arrival.family : AF_INET6;
    };
  };
  runAll({
      {"UDP", [](LookupRun&, Arrival& at) { at.protocol = IPPROTO_UDP; }, Taker::kWhoListens, {}},
      {"UDP at the port of tunnels",
       [](LookupRun&, Arrival& at) {
         at.protocol = IPPROTO_UDP;
         at.local.port = kHbone;
       },
       Taker::kWhoListens,
       {}},
      {"to ::1", to("::1"), Taker::kWhoListens, {}},
  });
  LookupRun lookup;
  for (const char* ip : {"127.0.0.1", "127.64.1.2", "127.255.255.255"}) {
    for (const int family : {AF_INET, AF_INET6}) {
      const weft::Endpoint local{*Ip::parse(ip), kApp};
      CHECK(lookup.run({local, local, family}) == Taker::kWhoListens);
    }
  }
}

TEST_CASE("what nobody let pass comes to the proxy") {
  if (!hasRoot()) {
    return;
  }
  runAll({
      {"a stranger's", nothing, Taker::kPlaintext, {{"inbound_captured", 1}}},
      {"a tunnel",
       [](LookupRun&, Arrival& at) { at.local.port = kHbone; },
       Taker::kTunnel,
       {{"inbound_tunnel", 1}}},
      {"a tunnel that has a pass",
       [](LookupRun& lookup, Arrival& at) {
         at.local.port = kHbone;
         lookup.pass(lookup.own(), at.tuple());
       },
       Taker::kTunnel,
       {{"inbound_tunnel", 1}}},
  });
}

TEST_CASE("where the proxy does not listen nobody is served") {
  if (!hasRoot()) {
    return;
  }
  const Steps refused = {{"inbound_refused_no_listener", 1}};
  runAll(
      {
          {"plaintext, only tunnels are served",
           [](LookupRun& lookup, Arrival&) { lookup.listen(kHbone); }, Taker::kNobody, refused},
          {"a tunnel, only plaintext is served",
           [](LookupRun& lookup, Arrival& at) {
             lookup.listen(kPlaintext);
             at.local.port = kHbone;
           },
           Taker::kNobody, refused},
          {"a listener that is gone",
           [](LookupRun& lookup, Arrival&) {
             lookup.listen(kPlaintext);
             lookup.clear();
           },
           Taker::kNobody, refused},
          {"IPv6, only IPv4 is served",
           [](LookupRun& lookup, Arrival& at) {
             lookup.listen(kPlaintext, AF_INET);
             at.family = AF_INET6;
           },
           Taker::kNobody, refused},
      },
      false);
}

TEST_CASE("a proxy that hangs is given nothing, and what may pass it does") {
  if (!hasRoot()) {
    return;
  }
  const Steps refused = {{"inbound_refused_down", 1}};
  runAll({
      {"a stranger's", [](LookupRun& lookup, Arrival&) { lookup.hang(); }, Taker::kNobody, refused},
      {"a tunnel",
       [](LookupRun& lookup, Arrival& at) {
         lookup.hang();
         at.local.port = kHbone;
       },
       Taker::kNobody, refused},
      {"a pass",
       [](LookupRun& lookup, Arrival& at) {
         lookup.hang();
         lookup.pass(lookup.own(), at.tuple());
       },
       Taker::kWhoListens,
       {{"inbound_passed", 1}}},
      {"a direct connection",
       [](LookupRun& lookup, Arrival& at) {
         lookup.hang();
         lookup.direct(at.tuple(), authorized(lookup));
         lookup.say({allow(lookup)});
       },
       Taker::kWhoListens,
       {{"direct_passed", 1}}},
  });
}

TEST_CASE("a pass is good for one tuple in one namespace and for its time") {
  if (!hasRoot()) {
    return;
  }
  const Steps captured = {{"inbound_captured", 1}};
  const auto after = [](void (*change)(Arrival&)) {
    return [change](LookupRun& lookup, Arrival& at) {
      lookup.pass(lookup.own(), at.tuple());
      change(at);
    };
  };
  runAll({
      {"fresh", after([](Arrival&) {}), Taker::kWhoListens, {{"inbound_passed", 1}}},
      {"half of its time old",
       [](LookupRun& lookup, Arrival& at) {
         lookup.pass(lookup.own(), at.tuple(), WEFT_PASS_NS / 2);
       },
       Taker::kWhoListens,
       {{"inbound_passed", 1}}},
      {"too old",
       [](LookupRun& lookup, Arrival& at) { lookup.pass(lookup.own(), at.tuple(), kTooLong); },
       Taker::kPlaintext,
       {{"inbound_captured", 1}, {"inbound_expired", 1}}},
      {"of another namespace",
       [](LookupRun& lookup, Arrival& at) { lookup.pass(lookup.client(), at.tuple()); },
       Taker::kPlaintext, captured},
      {"of another source port", after([](Arrival& at) { at.remote.port++; }), Taker::kPlaintext,
       captured},
      {"of another source", after([](Arrival& at) { at.remote.ip.bytes[15]++; }), Taker::kPlaintext,
       captured},
      {"of another port", after([](Arrival& at) { at.local.port++; }), Taker::kPlaintext, captured},
      {"of another address", after([](Arrival& at) { at.local.ip.bytes[15]++; }), Taker::kPlaintext,
       captured},
      {"taken back, or used",
       [](LookupRun& lookup, Arrival& at) {
         lookup.pass(lookup.own(), at.tuple());
         lookup.clear();
         listenAtBoth(lookup);
       },
       Taker::kPlaintext, captured},
  });
}

TEST_CASE("a direct connection passes while policy allows it") {
  if (!hasRoot()) {
    return;
  }
  const Steps passed = {{"direct_passed", 1}};
  runAll({
      {"every port is allowed",
       [](LookupRun& lookup, Arrival& at) {
         lookup.direct(at.tuple(), authorized(lookup));
         lookup.say({allow(lookup)});
       },
       Taker::kWhoListens, passed},
      {"this port is, others are not",
       [](LookupRun& lookup, Arrival& at) {
         lookup.direct(at.tuple(), authorized(lookup));
         lookup.say({deny(lookup), allow(lookup, kApp)});
       },
       Taker::kWhoListens, passed},
      {"nobody authorized it",
       [](LookupRun& lookup, Arrival&) { lookup.say({allow(lookup)}); },
       Taker::kPlaintext,
       {{"inbound_captured", 1}}},
  });
}

TEST_CASE("a direct connection that is not what was authorized is a stranger's") {
  if (!hasRoot()) {
    return;
  }
  const Steps stale = {{"direct_refused_stale", 1}, {"inbound_captured", 1}};
  const auto changed = [](void (*change)(weft_direct&)) {
    return [change](LookupRun& lookup, Arrival& at) {
      weft_direct direct = authorized(lookup);
      change(direct);
      lookup.direct(at.tuple(), direct);
      lookup.say({allow(lookup)});
    };
  };
  const auto judged = [](std::vector<weft::io::DirectVerdict> (*verdicts)(const LookupRun&)) {
    return [verdicts](LookupRun& lookup, Arrival& at) {
      lookup.direct(at.tuple(), authorized(lookup));
      lookup.say(verdicts(lookup));
    };
  };
  using Verdicts = std::vector<weft::io::DirectVerdict>;
  runAll({
      {"too late", changed([](weft_direct& it) { it.born_ns -= kTooLong; }), Taker::kPlaintext,
       stale},
      {"it is open already", changed([](weft_direct& it) { it.state = WEFT_DIRECT_ESTABLISHED; }),
       Taker::kPlaintext, stale},
      {"to another pod", changed([](weft_direct& it) { it.destination++; }), Taker::kPlaintext,
       stale},
      {"denied by now", judged([](const LookupRun& lookup) { return Verdicts{deny(lookup)}; }),
       Taker::kPlaintext, stale},
      {"its port is denied", judged([](const LookupRun& lookup) {
         return Verdicts{allow(lookup), deny(lookup, kApp)};
       }),
       Taker::kPlaintext, stale},
      {"nobody knows by now", judged([](const LookupRun&) { return Verdicts{}; }),
       Taker::kPlaintext, stale},
      {"a certificate has expired",
       judged([](const LookupRun& lookup) {
         return Verdicts{{lookup.client().netns.cookie, 0, true, LookupRun::nowNs() - 1}};
       }),
       Taker::kPlaintext,
       {{"direct_expired", 1}, {"direct_refused_stale", 1}, {"inbound_captured", 1}}},
  });
}

TEST_CASE("a direct connection whose addresses are others' is a stranger's") {
  if (!hasRoot()) {
    return;
  }
  const Steps captured = {{"inbound_captured", 1}};
  const auto given = [](const Ip& (*which)(const Arrival&), uint64_t netns) {
    return [which, netns](LookupRun& lookup, Arrival& at) {
      lookup.direct(at.tuple(), authorized(lookup));
      lookup.say({allow(lookup)});
      lookup.give(which(at), netns);
    };
  };
  const auto remote = [](const Arrival& at) -> const Ip& { return at.remote.ip; };
  const auto local = [](const Arrival& at) -> const Ip& { return at.local.ip; };
  runAll({
      {"the client's", given(remote, kStrangersNetns), Taker::kPlaintext, captured},
      {"its own", given(local, kStrangersNetns), Taker::kPlaintext, captured},
      {"the client's is the pod's own",
       [](LookupRun& lookup, Arrival& at) {
         lookup.direct(at.tuple(), authorized(lookup));
         lookup.say({allow(lookup)});
         lookup.give(at.remote.ip, lookup.own().netns.cookie);
       },
       Taker::kPlaintext, captured},
      {"nobody's",
       [](LookupRun& lookup, Arrival& at) {
         at.remote.ip.bytes[15] = 77;
         lookup.direct(at.tuple(), authorized(lookup));
         lookup.say({allow(lookup)});
       },
       Taker::kPlaintext, captured},
  });
}
