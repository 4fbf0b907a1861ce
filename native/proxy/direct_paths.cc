// SPDX-License-Identifier: Apache-2.0
#include "proxy/direct_paths.h"

#include <algorithm>
#include <future>
#include <utility>

#include "base/clock.h"
#include "io/netns.h"
#include "proxy/route.h"
#include "tls/verify.h"

namespace weft::proxy {
namespace {

/// A connection that was authorized by the old verdict may not be open yet when those that are open
/// are looked at first.
constexpr uint64_t kSecondSweepMs = 200;
/// How long events are left in the kernel's ring, which holds those of 2,500 connections.
constexpr uint64_t kGatherMs = 20;
/// Events that are left in the kernel's ring while there is no proxy are of pods that the next one
/// has still to be told of: they wait so long for them, and at most so many.
constexpr uint64_t kPodsComeMs = 30'000;
constexpr size_t kUntoldMax = 8192;
constexpr uint64_t kNsPerSecond = 1'000'000'000;

uint64_t monotonicNs() {
  return monotonicMicros() * 1000;
}

/// When a certificate that is valid until `notAfter`, in Unix time, expires; 0 when it has.
uint64_t expiryOf(int64_t notAfter) {
  const int64_t left = notAfter - unixSeconds();
  return left <= 0 ? 0 : monotonicNs() + static_cast<uint64_t>(left) * kNsPerSecond;
}

bool sameRows(const std::vector<io::DirectVerdict>& a, const std::vector<io::DirectVerdict>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.source == y.source && x.port == y.port && x.allowed == y.allowed &&
           x.expiresNs == y.expiresNs;
  });
}

}  // namespace

/// The kernel's events on the loop.
class DirectPaths::Events final : public io::Pollable {
 public:
  explicit Events(DirectPaths& owner) : owner_(owner) {}
  // The kernel tells of no further event while one waits. It may have been left in this very turn.
  void onReady(uint32_t) override {
    if (owner_.path_ != nullptr && !owner_.gather_.running()) {
      owner_.gather_.start(owner_.worker_->loop(), kGatherMs, [this] { owner_.onEvents(); });
    }
  }

 private:
  DirectPaths& owner_;
};

DirectPaths::DirectPaths(io::Captures& captures, Report report, Options options)
    : captures_(captures),
      report_(std::move(report)),
      waits_(options.waits),
      allowed_(options.allowed),
      denied_(std::make_shared<tls::DenyList>(0, std::vector<std::string>(),
                                              std::vector<std::string>())),
      worker_(std::make_unique<io::Worker>("weft-direct")) {}

DirectPaths::~DirectPaths() {
  rest();
  worker_.reset();
}

void DirectPaths::rest() {
  std::promise<void> rests;
  worker_->post([&] {
    waits_ = true;
    leave();
    rests.set_value();
  });
  rests.get_future().wait();
}

/// What was published is another's to change from here on, and is published anew by whoever begins.
void DirectPaths::leave() {
  soon_.cancel();
  gather_.cancel();
  sweep_.cancel();
  comeBack_.cancel();
  untold_.clear();
  if (path_ != nullptr) {
    worker_->loop().unwatch(path_->eventsFd());
    worker_->loop().bury(std::move(events_));
    path_.reset();
  }
  published_.clear();
  services_ = {};
  changed_.clear();
}

void DirectPaths::begin() {
  worker_->post([this] {
    waits_ = false;
    soon();
  });
}

void DirectPaths::addPod(PodSpec spec, UniqueFd netns) {
  auto shared = std::make_shared<UniqueFd>(std::move(netns));
  worker_->post([this, spec = std::move(spec), shared] {
    const Result<uint64_t> cookie = io::netnsCookie(shared->get());
    if (!cookie.ok()) {
      return;  // its connections go through the proxy
    }
    LocalPod pod{spec.uid, spec.workloadUid, spec.spiffeId, cookie.value(), 0};
    pods_[spec.uid] = {std::move(pod), std::move(*shared)};
    soon();
  });
}

void DirectPaths::podIsOpen(std::string uid) {
  worker_->post([this, uid = std::move(uid)] {
    if (const auto found = pods_.find(uid); found != pods_.end()) {
      found->second.isOpen = true;
      tell();
    }
  });
}

void DirectPaths::removePod(std::string uid) {
  worker_->post([this, uid = std::move(uid)] {
    const auto found = pods_.find(uid);
    if (found == pods_.end()) {
      return;
    }
    const Known gone = std::move(found->second);
    pods_.erase(found);
    if (monotonicMillis() < knownAtMs_) {
      gone_.insert(gone.pod.netns);
    }
    mustSweep_ = true;
    if (path_ == nullptr) {
      return;
    }
    if (published_.erase(gone.pod.netns) > 0) {
      path_->withdraw(gone.pod.netns);
    }
    // It may connect all the while: what is open ends when nothing more can be opened.
    soon_.cancel();
    publishAll();
    endAllOf(gone);
  });
}

void DirectPaths::setTables(std::shared_ptr<const Tables> tables) {
  worker_->post([this, tables = std::move(tables)] {
    mustSweepAll_ = mustSweepAll_ || tables->policyEpoch() != tables_->policyEpoch();
    mustSweep_ = mustSweep_ || tables->routeEpoch() != tables_->routeEpoch();
    tables_ = tables;
    soon();
  });
}

void DirectPaths::setIdentity(std::shared_ptr<const tls::Identity> identity) {
  worker_->post([this, identity = std::move(identity)] {
    certificates_[identity->id().text] = {expiryOf(identity->notAfterSeconds()),
                                          identity->serial()};
    mustSweep_ = true;
    soon();
  });
}

void DirectPaths::removeIdentity(std::string spiffeId) {
  worker_->post([this, spiffeId = std::move(spiffeId)] {
    certificates_.erase(spiffeId);
    soon();
  });
}

void DirectPaths::setDenyList(std::shared_ptr<const tls::DenyList> list) {
  worker_->post([this, list = std::move(list)] {
    denied_ = list;
    mustSweepAll_ = true;
    soon();
  });
}

void DirectPaths::changed() {
  worker_->post([this] {
    mustSweepAll_ = true;
    soon();
  });
}

/// False as long as nothing captures in the kernel.
bool DirectPaths::open() {
  if (path_ == nullptr && !waits_ && (path_ = captures_.directPath()) != nullptr) {
    events_ = std::make_unique<Events>(*this);
    worker_->loop().watch(path_->eventsFd(), events_.get());
    knownAtMs_ = monotonicMillis() + kPodsComeMs;
    gone_.clear();
    onEvents();  // what came before
  }
  return path_ != nullptr;
}

/// What is changed in one turn is published once.
void DirectPaths::soon() {
  if (!soon_.running()) {
    soon_.start(worker_->loop(), 0, [this] { publishAll(); });
  }
}

bool DirectPaths::isDenied(const LocalPod& pod) const {
  tls::PeerIdentity self;
  self.id.text = pod.spiffeId;
  if (const auto found = certificates_.find(pod.spiffeId); found != certificates_.end()) {
    self.serial = found->second.serial;
  }
  return denied_->denies(self);
}

std::vector<LocalPod> DirectPaths::usable() const {
  std::vector<LocalPod> all;
  for (const auto& [uid, known] : pods_) {
    const auto found = certificates_.find(known.pod.spiffeId);
    if (allowed_ && found != certificates_.end() && !isDenied(known.pod)) {
      all.push_back(known.pod);
      all.back().expiresNs = found->second.expiresNs;
    }
  }
  return all;
}

void DirectPaths::publishAll() {
  // Before policy is known all stays as a predecessor left it.
  if (pods_.empty() || !tables_->policiesReceived() || !open()) {
    return;
  }
  const std::vector<LocalPod> all = usable();
  std::map<uint64_t, std::vector<io::DirectVerdict>> next;
  for (const auto& [uid, known] : pods_) {
    next[known.pod.netns];  // nothing of a predecessor's stays
  }
  for (const LocalPod& destination : all) {
    next[destination.netns] = directVerdicts(*tables_, destination, all);
  }
  std::set<uint64_t> changed;
  for (const auto& [netns, rows] : published_) {
    if (!next.contains(netns)) {
      path_->withdraw(netns);
      changed.insert(netns);
    }
  }
  for (auto& [netns, rows] : next) {
    const auto before = published_.find(netns);
    if (before == published_.end() || !sameRows(before->second, rows)) {
      put(netns, rows);
      changed.insert(netns);
    }
  }
  published_ = std::move(next);
  if (std::exchange(mustSweepAll_, false)) {
    // A pair that is left to the proxy before and after has no row that would say so.
    for (const auto& [netns, rows] : published_) {
      changed.insert(netns);
    }
  }
  if (std::exchange(mustSweep_, false) || !changed.empty()) {
    changed_.merge(changed);
    sweep();
    sweep_.start(worker_->loop(), kSecondSweepMs, [this] {
      sweep();
      changed_.clear();
    });
  }
  publishServices();
}

/// What finds no room is left to the proxy.
void DirectPaths::publishServices() {
  std::vector<LocalPod> pods = usable();
  std::erase_if(pods, [this](const LocalPod& pod) { return !path_->isOn(pod.netns); });
  const uint64_t nowMs = monotonicMillis();
  services_ = directServices(*tables_, pods, balancer_, nowMs);
  static_cast<void>(path_->publishServices(services_.tables));
  comeBack_.cancel();
  if (services_.untilMs != UINT64_MAX) {
    comeBack_.start(worker_->loop(), services_.untilMs - nowMs, [this] { publishServices(); });
  }
}

/// An endpoint that does not accept is left out for a while, as the proxy would leave it out.
void DirectPaths::learn(const io::DirectEvent& event, const Known& destination) {
  const bool opened = event.kind == io::DirectEvent::Kind::kOpened;
  const bool failed = event.kind == io::DirectEvent::Kind::kClosed && event.refused;
  if ((!opened && !failed) || event.flow.asked == event.flow.server) {
    return;
  }
  const uint64_t before = balancer_.ejections();
  balancer_.note(destination.pod.workloadUid, event.flow.server.port, opened, monotonicMillis());
  if (balancer_.ejections() != before) {
    soon();
  }
}

/// What cannot be published is withdrawn, and its connections go through the proxy: then `rows` are
/// none, so that the next change tries it again.
void DirectPaths::put(uint64_t netns, std::vector<io::DirectVerdict>& rows) {
  if (rows.empty()) {
    path_->withdraw(netns);
  } else if (!path_->publish(netns, rows).ok()) {
    rows.clear();
  }
}

const DirectPaths::Known* DirectPaths::byNetns(uint64_t netns) const {
  for (const auto& [uid, known] : pods_) {
    if (known.pod.netns == netns) {
      return &known;
    }
  }
  return nullptr;
}

const DirectPaths::Known* DirectPaths::byWorkload(const std::string& uid) const {
  for (const auto& [podUid, known] : pods_) {
    if (known.pod.workloadUid == uid) {
      return &known;
    }
  }
  return nullptr;
}

/// One that has not expired: a row for the port goes before that for all others.
bool DirectPaths::hasVerdict(const LocalPod& source, const LocalPod& destination,
                             uint16_t port) const {
  const auto rows = published_.find(destination.netns);
  if (rows == published_.end()) {
    return false;
  }
  const io::DirectVerdict* found = nullptr;
  for (const io::DirectVerdict& row : rows->second) {
    if (row.source == source.netns && (row.port == port || (row.port == 0 && found == nullptr))) {
      found = &row;
    }
  }
  return found != nullptr && found->expiresNs > monotonicNs();
}

/// Whether a connection to `asked` that leads to `end` does so past the proxy.
bool DirectPaths::leads(const Known& source, const Endpoint& asked, const End& end) const {
  const Known* destination = byWorkload(end.workloadUid);
  const bool isReached = asked == end.target || (services_.tables.contains(asked) &&
                                                 asked.ip.isV4() == end.target.ip.isV4());
  return destination != nullptr && isReached && path_ != nullptr && path_->isOn(source.pod.netns) &&
         path_->isOn(destination->pod.netns) &&
         hasVerdict(source.pod, destination->pod, end.target.port);
}

std::vector<bool> DirectPaths::decides(const std::string& sourceUid, const Endpoint& asked,
                                       const std::vector<End>& ends) {
  std::promise<std::vector<bool>> answer;
  worker_->post([&] {
    const Known* source = byWorkload(sourceUid);
    std::vector<bool> all;
    for (const End& end : ends) {
      all.push_back(source != nullptr && !isProxyPort(end.target.port) &&
                    leads(*source, asked, end));
    }
    answer.set_value(std::move(all));
  });
  return answer.get_future().get();
}

/// Of a pod that we were not told of yet nothing is said: what was open when we started goes on
/// until we are.
bool DirectPaths::isAllowed(const io::DirectFlow& flow) const {
  const Known* source = byNetns(flow.source);
  const Known* destination = byNetns(flow.destination);
  if (source == nullptr || destination == nullptr) {
    return true;
  }
  const bool isOn = path_->isOn(flow.source) && path_->isOn(flow.destination);
  return allowed_ && isOn && !isDenied(source->pod) && !isDenied(destination->pod) &&
         mayStay(*tables_, source->pod, destination->pod, flow);
}

/// Both ends: what the client's end says of its death may never leave its pod, which may also have
/// closed it before without a word.
void DirectPaths::sweep() {
  const auto isAllowedHere = [this](const io::DirectFlow& flow) { return isAllowed(flow); };
  for (const auto& [uid, known] : pods_) {
    std::vector<io::DirectFlow> doomed = path_->flowsOf(known.pod.netns);
    std::erase_if(doomed, isAllowedHere);
    if (!doomed.empty()) {
      static_cast<void>(path_->end(doomed, known.netns.get()));
    }
    if (changed_.contains(known.pod.netns)) {
      static_cast<void>(path_->endAccepted(known.pod.netns, known.netns.get(), isAllowedHere));
    }
  }
}

/// A pod that leaves the mesh takes its identity with it.
void DirectPaths::endAllOf(const Known& gone) {
  const uint64_t source = gone.pod.netns;
  std::set<uint64_t> reached;
  const std::vector<io::DirectFlow> flows = path_->flowsOf(source);
  for (const io::DirectFlow& flow : flows) {
    reached.insert(flow.destination);
  }
  if (!flows.empty()) {
    static_cast<void>(path_->end(flows, gone.netns.get()));
  }
  for (const uint64_t netns : reached) {
    if (const Known* destination = byNetns(netns); destination != nullptr) {
      static_cast<void>(
          path_->endAccepted(netns, destination->netns.get(),
                             [&](const io::DirectFlow& flow) { return flow.source != source; }));
    }
  }
}

/// Whether somebody can be told of that pod's events later, though not now.
bool DirectPaths::mayCome(uint64_t netns) const {
  const Known* pod = byNetns(netns);
  return pod == nullptr ? monotonicMillis() < knownAtMs_ && !gone_.contains(netns) : !pod->isOpen;
}

void DirectPaths::onEvents() {
  path_->take([this](const io::DirectEvent& event) {
    if (const Known* destination = byNetns(event.flow.destination); destination != nullptr) {
      learn(event, *destination);
    }
    untold_.push_back(event);
  });
  tell();
}

/// What one connection is told of stays in order: both its pods are carried, or not.
void DirectPaths::tell() {
  std::vector<Told> all;
  std::vector<io::DirectEvent> waiting;
  for (const io::DirectEvent& event : untold_) {
    if (waiting.size() < kUntoldMax &&
        (mayCome(event.flow.source) || mayCome(event.flow.destination))) {
      waiting.push_back(event);
      continue;
    }
    const Known* source = byNetns(event.flow.source);
    const Known* destination = byNetns(event.flow.destination);
    all.push_back({event, source == nullptr ? "" : source->pod.uid,
                   destination == nullptr ? "" : destination->pod.uid});
  }
  untold_ = std::move(waiting);
  if (!all.empty()) {
    report_(std::move(all));
  }
}

}  // namespace weft::proxy
