// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include "proxy/budget.h"

#include <doctest/doctest.h>
// clang-format on

#include <thread>
#include <vector>

using weft::proxy::Limits;
using weft::proxy::PodBudget;
using weft::proxy::SharedSum;

namespace {

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

TEST_CASE("one source is promised its share, and another one the rest") {
  auto node = std::make_shared<SharedSum>(1000);
  auto pod = std::make_shared<PodBudget>(limitsOf(100), node);
  weft::proxy::SourceBudget one(pod, 50);
  weft::proxy::SourceBudget two(pod, 60);
  CHECK(one.take(50));
  CHECK_FALSE(one.take(1));
  CHECK_FALSE(two.take(51));
  CHECK(two.take(50));
  one.give(50);
  CHECK(two.take(10));
  CHECK_FALSE(two.take(1));
  CHECK(pod->bytes() == 60);
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
