// SPDX-License-Identifier: Apache-2.0
// The tier of one node beside its capture, with two pods: how it comes, is taken over, and goes.
// No gate is asked. Needs root.
#include "kernel/sockmap_tier.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "kernel/direct_path.h"
#include "kernel/two_pods.h"

using weft::UniqueFd;
using weft::kernel::KernelDirectPath;
using weft::kernel::NodeCapture;
using weft::kernel::SockmapTier;
using weft::test::hasRoot;
using weft::test::ScratchPod;
using weft::test::Spelling;
using weft::test::TwoPods;

namespace {

constexpr uint16_t kApp = 8080;
constexpr uint64_t kForEver = std::numeric_limits<uint64_t>::max();

struct Ends {
  UniqueFd client;
  UniqueFd server;
};

struct TierPods : TwoPods {
  std::unique_ptr<KernelDirectPath> path;
  std::unique_ptr<SockmapTier> tier;
  UniqueFd app = b.listen(kApp);

  TierPods() {
    for (const ScratchPod* pod : {&a, &b}) {
      REQUIRE(node.agent()
                  .enrol(pod->netns.fd.get(), pod->netns.cookie, pod->addresses, true, true)
                  .ok());
    }
    path = std::move(KernelDirectPath::open(node.pins())).value();
    const weft::io::DirectVerdict verdict{a.netns.cookie, 0, true, kForEver};
    REQUIRE(path->publish(b.netns.cookie, {&verdict, 1}).ok());
    openTier();
  }
  void openTier() {
    auto opened = SockmapTier::open(node.options().pins, node.options().cgroup);
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    tier = std::move(opened).value();
  }
  Ends connect(Spelling spelling) {
    auto client = weft::test::connectFrom(a.netns, spelling, b.at(spelling, kApp));
    REQUIRE(client.error == 0);
    return {std::move(client.socket), weft::test::acceptFrom(app).socket};
  }
  void promote() const {
    REQUIRE(tier->promote(a.netns.fd.get()).ok());
    REQUIRE(tier->promote(b.netns.fd.get()).ok());
  }
  uint64_t redirected() { return node.agent().counters().at("sockmap_redirected_bytes"); }
};

/// One end says something, and the other hears all of it.
void exchange(const UniqueFd& from, const UniqueFd& to, const std::string& text) {
  REQUIRE(::send(from.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  std::string heard(text.size(), 0);
  for (size_t got = 0; got < text.size();) {
    weft::test::waitReadable(to);
    const ssize_t n = ::recv(to.get(), heard.data() + got, text.size() - got, 0);
    REQUIRE((n > 0 || (n < 0 && errno == EAGAIN)));
    got += n > 0 ? static_cast<size_t>(n) : 0;
  }
  CHECK(heard == text);
}

}  // namespace

TEST_CASE("connections of two pods are taken in from both namespaces, by each family") {
  if (!hasRoot()) {
    return;
  }
  TierPods pods;
  for (const Spelling spelling : weft::test::kSpellings) {
    const Ends ends = pods.connect(spelling);
    exchange(ends.client, ends.server, "by TCP");
    const uint64_t before = pods.redirected();
    pods.promote();
    exchange(ends.client, ends.server, "past it");
    exchange(ends.server, ends.client, "and back");
    CHECK(pods.redirected() - before == 15);
  }
}

TEST_CASE("a tier that is opened again has what was in it") {
  if (!hasRoot()) {
    return;
  }
  TierPods pods;
  const Ends old = pods.connect(Spelling::kIpv4);
  pods.promote();
  pods.tier = nullptr;
  exchange(old.client, old.server, "nobody is there");
  CHECK(pods.redirected() == 15);
  pods.openTier();
  exchange(old.client, old.server, "somebody is");
  const Ends fresh = pods.connect(Spelling::kIpv6);
  pods.promote();
  exchange(fresh.client, fresh.server, "again");
  CHECK(pods.redirected() == 31);
}

TEST_CASE("what was in the tier goes on by TCP when that is taken off the node") {
  if (!hasRoot()) {
    return;
  }
  TierPods pods;
  const Ends ends = pods.connect(Spelling::kIpv4);
  pods.promote();
  exchange(ends.client, ends.server, "past TCP");
  CHECK(pods.redirected() == 8);
  pods.tier = nullptr;
  REQUIRE(NodeCapture::uninstall(pods.node.options().pins).ok());
  exchange(ends.client, ends.server, "with the tier or without");
  exchange(ends.server, ends.client, std::string(10000, 'x'));
}

TEST_CASE("a pod that is released keeps what is in the tier, and nothing more comes") {
  if (!hasRoot()) {
    return;
  }
  TierPods pods;
  const Ends ends = pods.connect(Spelling::kIpv4);
  const Ends late = pods.connect(Spelling::kIpv4);
  REQUIRE(pods.tier->promote(pods.a.netns.fd.get()).ok());
  REQUIRE(pods.tier->promote(pods.b.netns.fd.get()).ok());
  const Ends never = pods.connect(Spelling::kIpv6);
  REQUIRE(pods.node.agent().release(pods.a.netns.cookie).ok());
  pods.promote();
  exchange(ends.client, ends.server, "still");
  exchange(late.client, late.server, "still");
  CHECK(pods.redirected() == 10);
  exchange(never.client, never.server, "by TCP");
  CHECK(pods.redirected() == 10);
}
