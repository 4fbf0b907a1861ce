// SPDX-License-Identifier: Apache-2.0
// An engine with one pod in a network namespace of its own, as the tests of the engine use it.
// Include doctest behind it: base/check.h and doctest both define CHECK, and the later one counts.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "proxy/delta_writer.h"
#include "proxy/engine.h"
#include "proxy/event_reader.h"
#include "proxy/hbone_peer.h"

namespace weft::test {

using proxy::DeltaWriter;
using proxy::Engine;
using proxy::EventKind;
using proxy::Policy;
using proxy::PolicyAction;
using proxy::PolicyScope;
using proxy::Reason;
using proxy::Settings;
using proxy::Workload;

inline constexpr const char* kCart = "spiffe://cluster.local/ns/shop/sa/cart";
inline constexpr const char* kWeb = "spiffe://cluster.local/ns/shop/sa/web";
inline constexpr const char* kCartUid = "Kubernetes//Pod/shop/cart";

inline size_t openDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    count++;
  }
  return count;
}

inline Workload workload(const std::string& name, const char* ip) {
  Workload w;
  w.uid = "Kubernetes//Pod/shop/" + name;
  w.name = name;
  w.namespaceName = "shop";
  w.serviceAccount = name;
  w.trustDomain = "cluster.local";
  w.addresses = {*Ip::parse(ip)};
  w.hbone = true;
  return w;
}

/// Matches every client, or the one whose identity is given.
inline Policy policy(const std::string& name, PolicyAction action,
                     const std::string& principal = "") {
  Policy p;
  p.key = "shop/" + name;
  p.namespaceName = "shop";
  p.scope = PolicyScope::kNamespace;
  p.action = action;
  p.rules.resize(1);
  if (!principal.empty()) {
    proxy::PolicyMatch match;
    match.principals = {{proxy::StringMatch::Kind::kExact, principal.substr(9)}};
    p.rules[0].clauses.push_back({{match}});
  }
  return p;
}

inline Settings settingsOf(size_t workers) {
  Settings settings;
  settings.workers = workers;
  settings.identityTimeoutMs = 5000;
  return settings;
}

/// Calls `work` on the worker's thread, in the first turn for which `now` says so.
inline void inTurn(Engine& engine, const std::function<bool()>& now,
                   const std::function<void()>& work) {
  engine.snapshot([&engine, now, work](const std::string&) {
    if (now()) {
      work();
    } else {
      inTurn(engine, now, work);
    }
  });
}

/// An engine with one pod "cart" in a namespace of its own, and the authority of its mesh.
class Mesh {
 public:
  explicit Mesh(NetworkNamespace& namespaceIn, Settings settings = settingsOf(2),
                std::unique_ptr<io::Captures> captures = nullptr)
      : ns(namespaceIn),
        engine(std::make_unique<Engine>(
            std::move(settings),
            [this] {
              const std::lock_guard lock(mutex_);
              arrived_.notify_all();
            },
            std::move(captures))) {}

  std::shared_ptr<const tls::Identity> identity(const char* id) const {
    CertificateRecipe recipe;
    recipe.notBefore = unixSeconds() - kHour;
    recipe.notAfter = unixSeconds() + kHour;
    return ca.identity(id, recipe);
  }
  void apply(const DeltaWriter& delta) { need(engine->apply(delta.bytes()).ok()); }
  /// The pod, the tables that know it, no policy, its certificate.
  void start() {
    apply(DeltaWriter().add(workload("cart", "127.0.0.1")).policiesReceived());
    engine->setIdentity(identity(kCart));
    need(addPod("cart").ok());
  }
  Status addPod(const std::string& uid) { return addPod(uid, ns); }
  Status addPod(const std::string& uid, const NetworkNamespace& in) {
    return waitFor([&](Engine::Done done) {
      engine->addPod({uid, kCartUid, kCart}, in.fd(), std::move(done));
    });
  }
  Status removePod(const std::string& uid) {
    return waitFor([&](Engine::Done done) { engine->removePod(uid, std::move(done)); });
  }
  static Status waitFor(const std::function<void(Engine::Done)>& call) {
    auto answer = std::make_shared<std::promise<Status>>();
    auto future = answer->get_future();
    call([answer](const Status& status) { answer->set_value(status); });
    if (future.wait_for(std::chrono::seconds(kWaitSeconds)) != std::future_status::ready) {
      return {Code::kTimeout, "the engine did not answer"};
    }
    return future.get();
  }
  HbonePeer peer() { return HbonePeer(ns, identity(kWeb), kCart); }
  /// One whose streams may be sent `window` bytes at first.
  HbonePeer peerWithWindow(uint32_t window) {
    http::H2Limits limits;
    limits.streamWindowBytes = window;
    return HbonePeer(ns, identity(kWeb), kCart, "127.0.0.1", limits);
  }

  /// The first event that `fits`, waiting for it; nothing when it does not come.
  std::optional<Event> event(const std::function<bool(const Event&)>& fits) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(kWaitSeconds);
    std::unique_lock lock(mutex_);
    while (true) {
      for (Event& one : test::readEvents(engine->takeEvents()).events) {
        seen_.push_back(std::move(one));
      }
      const auto found = std::find_if(seen_.begin(), seen_.end(), fits);
      if (found != seen_.end()) {
        Event out = std::move(*found);
        seen_.erase(found);
        return out;
      }
      if (arrived_.wait_until(lock, until) == std::cv_status::timeout) {
        return std::nullopt;
      }
    }
  }
  std::optional<Event> event(EventKind kind) {
    return event([kind](const Event& e) { return e.is(kind); });
  }
  uint64_t count(Counter which) const { return engine->counters()->sum(which); }
  /// Waits until so many were counted; false when they are not.
  bool reaches(Counter which, uint64_t n) const {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(kWaitSeconds);
    while (count(which) < n && std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
    return count(which) == n;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Event> seen_;

 public:
  NetworkNamespace& ns;
  TestCa ca;
  std::unique_ptr<Engine> engine;
};

/// A namespace, or a printed reason why there is none.
inline std::optional<NetworkNamespace> newNamespace() {
  auto ns = NetworkNamespace::make();
  if (!ns) {
    std::fprintf(stderr, "skipped: a network namespace needs CAP_SYS_ADMIN\n");
  } else {
    ns->socket();  // this thread's way home stays open from here on
  }
  return ns;
}

inline Bytes pattern(size_t n) {
  Bytes bytes(n);
  for (size_t i = 0; i < n; i++) {
    bytes[i] = static_cast<uint8_t>(i * 31 + i / 256);
  }
  return bytes;
}

/// Sends back all it gets, then ends.
inline void echo(const Line& line) {
  Bytes some(32 << 10);
  while (true) {
    const ssize_t n = ::recv(line.fd.get(), some.data(), some.size(), 0);
    if (n <= 0 || !line.send(Bytes(some.begin(), some.begin() + n))) {
      break;
    }
  }
  line.end();
}

}  // namespace weft::test
