// SPDX-License-Identifier: Apache-2.0
#include "proxy/budget.h"

namespace weft::proxy {

bool SharedSum::tryAdd(uint64_t n) {
  uint64_t seen = value();
  do {
    if (n > max_ || seen > max_ - n) {
      return false;
    }
  } while (!value_.compare_exchange_weak(seen, seen + n, std::memory_order_relaxed));
  return true;
}

Claim Claim::on(std::shared_ptr<SharedSum> sum) {
  Claim claim;
  if (sum->tryAdd(1)) {
    claim.sum_ = std::move(sum);
  }
  return claim;
}

Claim& Claim::operator=(Claim&& other) noexcept {
  if (this != &other) {
    release();
    sum_ = std::move(other.sum_);
  }
  return *this;
}

void Claim::release() {
  if (sum_ != nullptr) {
    sum_->subtract(1);
    sum_.reset();
  }
}

bool PodBudget::take(uint32_t bytes) {
  if (!bytes_.tryAdd(bytes)) {
    return false;
  }
  if (!nodeBytes_->tryAdd(bytes)) {
    bytes_.subtract(bytes);
    return false;
  }
  return true;
}

void PodBudget::give(uint32_t bytes) {
  bytes_.subtract(bytes);
  nodeBytes_->subtract(bytes);
}

void PodBudget::account(uint64_t before, uint64_t now) {
  // Unsigned arithmetic wraps, so that a smaller `now` takes away.
  bytes_.add(now - before);
  nodeBytes_->add(now - before);
}

std::shared_ptr<Source> PodBudget::source(const Ip& ip) {
  const std::lock_guard lock(mutex_);
  std::weak_ptr<Source>& known = sources_[ip];
  std::shared_ptr<Source> source = known.lock();
  if (source == nullptr) {
    known = source = std::make_shared<Source>(shared_from_this(), ip);
  }
  return source;
}

size_t PodBudget::sources() const {
  const std::lock_guard lock(mutex_);
  return sources_.size();
}

/// The source at `ip` is going. Another one may have taken its place meanwhile.
void PodBudget::forget(const Ip& ip) {
  const std::lock_guard lock(mutex_);
  const auto found = sources_.find(ip);
  if (found != sources_.end() && found->second.expired()) {
    sources_.erase(found);
  }
}

Source::Source(std::shared_ptr<PodBudget> pod, const Ip& ip)
    : pod_(std::move(pod)),
      ip_(ip),
      handshakes_(pod_->limits_.handshakesPerSource),
      tunnels_(pod_->limits_.tunnelsPerSource),
      connections_(pod_->limits_.connectionsPerPod - pod_->limits_.connectionsPerPod / 2),
      bytes_(pod_->limits_.bytesPerPod / 2) {}

Source::~Source() {
  pod_->forget(ip_);
}

bool Source::take(uint32_t bytes) {
  if (!bytes_.tryAdd(bytes)) {
    return false;
  }
  if (!pod_->take(bytes)) {
    bytes_.subtract(bytes);
    return false;
  }
  return true;
}

void Source::give(uint32_t bytes) {
  bytes_.subtract(bytes);
  pod_->give(bytes);
}

}  // namespace weft::proxy
