// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include "proxy/budget.h"

#include <doctest/doctest.h>
// clang-format on

#include <atomic>
#include <thread>
#include <vector>

using weft::Ip;
using weft::proxy::Claim;
using weft::proxy::Limits;
using weft::proxy::PodBudget;
using weft::proxy::SharedSum;

namespace {

const Ip kOne = *Ip::parse("10.1.1.1");
const Ip kTwo = *Ip::parse("10.1.1.2");

Limits limitsOf(uint64_t perPod) {
  Limits limits;
  limits.bytesPerPod = perPod;
  return limits;
}

}  // namespace

TEST_CASE("a sum takes all that fits and nothing past its maximum") {
  SharedSum sum(10);
  CHECK(sum.tryAdd(10));
  CHECK(sum.full());
  CHECK_FALSE(sum.tryAdd(1));
  CHECK(sum.value() == 10);
  sum.subtract(1);
  CHECK_FALSE(sum.full());
  CHECK(sum.tryAdd(1));
  CHECK_FALSE(sum.tryAdd(UINT64_MAX));
  CHECK(sum.value() == 10);
}

TEST_CASE("what is there already is counted over the maximum too") {
  SharedSum sum(10);
  sum.add(12);
  CHECK(sum.full());
  CHECK_FALSE(sum.tryAdd(0));
  sum.subtract(12);
  CHECK(sum.value() == 0);
}

TEST_CASE("a pod's bytes end at its own limit, and other pods go on") {
  auto node = std::make_shared<SharedSum>(1000);
  PodBudget one(limitsOf(100), node);
  PodBudget two(limitsOf(100), node);
  CHECK(one.take(100));
  CHECK_FALSE(one.take(1));
  CHECK(one.bytesUsedUp());
  CHECK_FALSE(two.bytesUsedUp());
  CHECK(two.take(100));
  CHECK(node->value() == 200);
  one.give(100);
  CHECK(one.take(100));
}

TEST_CASE("the node's limit binds every pod, and a refusal leaves nothing counted") {
  auto node = std::make_shared<SharedSum>(150);
  PodBudget one(limitsOf(100), node);
  PodBudget two(limitsOf(100), node);
  CHECK(one.take(100));
  CHECK_FALSE(two.take(51));
  CHECK(two.bytes() == 0);
  CHECK(two.take(50));
  CHECK(two.bytesUsedUp());
  one.give(100);
  CHECK_FALSE(two.bytesUsedUp());
  CHECK(node->value() == 50);
}

TEST_CASE("buffered bytes replace what was counted before") {
  auto node = std::make_shared<SharedSum>(1000);
  PodBudget pod(limitsOf(100), node);
  pod.account(0, 120);
  CHECK(pod.bytesUsedUp());
  CHECK_FALSE(pod.take(1));
  pod.account(120, 40);
  CHECK(pod.bytes() == 40);
  CHECK(node->value() == 40);
  pod.account(40, 0);
  CHECK(node->value() == 0);
}

TEST_CASE("a claim counts one until it goes, and is empty when the sum is full") {
  const auto sum = std::make_shared<SharedSum>(2);
  Claim one = Claim::on(sum);
  Claim two = Claim::on(sum);
  CHECK(static_cast<bool>(two));
  CHECK_FALSE(static_cast<bool>(Claim::on(sum)));
  CHECK(sum->value() == 2);
  one = std::move(two);
  CHECK(sum->value() == 1);
  CHECK(static_cast<bool>(one));
  CHECK_FALSE(static_cast<bool>(two));
  { const Claim moved = std::move(one); }
  CHECK(sum->value() == 0);
}

TEST_CASE("one source is promised half of a pod's bytes, and another one the rest") {
  auto node = std::make_shared<SharedSum>(1000);
  auto pod = std::make_shared<PodBudget>(limitsOf(100), node);
  const auto one = pod->source(kOne);
  const auto two = pod->source(kTwo);
  CHECK(one->take(50));
  CHECK_FALSE(one->take(1));
  CHECK_FALSE(pod->source(kOne)->take(1));
  pod->account(0, 20);
  CHECK_FALSE(two->take(31));
  CHECK(two->take(30));
  CHECK_FALSE(two->take(1));
  one->give(50);
  CHECK(two->take(20));
  CHECK_FALSE(two->take(1));
  CHECK(pod->bytes() == 70);
}

TEST_CASE("a source has its limits, and half of the pod's connections") {
  Limits limits;
  limits.handshakesPerSource = 1;
  limits.tunnelsPerSource = 2;
  limits.connectionsPerPod = 6;
  auto pod = std::make_shared<PodBudget>(limits, std::make_shared<SharedSum>(1000));
  const auto source = pod->source(kOne);
  CHECK(source->handshakes().tryAdd(1));
  CHECK_FALSE(source->handshakes().tryAdd(1));
  CHECK(source->tunnels().tryAdd(2));
  CHECK_FALSE(source->tunnels().tryAdd(1));
  CHECK(source->connections().tryAdd(3));
  CHECK_FALSE(source->connections().tryAdd(1));
  CHECK(pod->source(kTwo)->connections().tryAdd(3));
}

TEST_CASE("a source is known as long as somebody holds something of it") {
  auto pod = std::make_shared<PodBudget>(Limits{}, std::make_shared<SharedSum>(1000));
  auto source = pod->source(kOne);
  Claim tunnel = Claim::on({source, &source->tunnels()});
  const auto* const known = source.get();
  source.reset();
  CHECK(pod->sources() == 1);
  CHECK(pod->source(kOne).get() == known);
  CHECK(pod->source(kOne)->tunnels().value() == 1);
  CHECK(pod->source(kTwo)->tunnels().value() == 0);
  CHECK(pod->sources() == 1);
  tunnel = {};
  CHECK(pod->sources() == 0);
}

TEST_CASE("threads that take at once never go over the maximum") {
  auto node = std::make_shared<SharedSum>(1000);
  PodBudget pod(limitsOf(1000), node);
  std::atomic<uint64_t> taken = 0;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      for (size_t n = 0; n < 1000; n++) {
        taken += pod.take(3) ? 3 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(taken == 999);
  CHECK(pod.bytes() == 999);
  CHECK(node->value() == 999);
}

TEST_CASE("threads in which sources come and go never have more than one may have") {
  Limits limits = limitsOf(1000);
  limits.tunnelsPerSource = 2;
  auto pod = std::make_shared<PodBudget>(limits, std::make_shared<SharedSum>(1000));
  std::atomic<int> held = 0;
  std::atomic<bool> tooMany = false;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      for (size_t n = 0; n < 1000; n++) {
        const auto source = pod->source(kOne);
        const Claim tunnel = Claim::on({source, &source->tunnels()});
        if (tunnel) {
          if (++held > 2) {
            tooMany = true;
          }
          std::this_thread::yield();
          held--;
        }
        if (source->take(3)) {
          source->give(3);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK_FALSE(tooMany);
  CHECK(pod->sources() == 0);
  CHECK(pod->bytes() == 0);
}
