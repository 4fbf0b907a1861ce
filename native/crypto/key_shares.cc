// SPDX-License-Identifier: Apache-2.0
#include "crypto/key_shares.h"

#include <openssl/mem.h>
#include <openssl/rand.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace weft::crypto {

// In memory of its own, of whole pages, that a child of this process finds zeroed: so `count` is 0
// there.
struct KeyShares::Memory {
  size_t count;
  std::array<uint64_t, kSharesMax> madeMicros;
  std::array<X25519Keygen, kSharesMax> shares;
};

KeyShares::KeyShares() {
  void* const pages =
      ::mmap(nullptr, sizeof(Memory), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {
    return;
  }
  if (::madvise(pages, sizeof(Memory), MADV_WIPEONFORK) != 0 ||
      ::madvise(pages, sizeof(Memory), MADV_DONTDUMP) != 0) {
    ::munmap(pages, sizeof(Memory));
    return;
  }
  memory_ = static_cast<Memory*>(pages);
}

KeyShares::~KeyShares() {
  if (memory_ != nullptr) {
    OPENSSL_cleanse(memory_, sizeof(Memory));
    ::munmap(memory_, sizeof(Memory));
  }
}

size_t KeyShares::size() const {
  return memory_ == nullptr ? 0 : memory_->count;
}

bool KeyShares::hasRoom() const {
  return memory_ != nullptr && memory_->count + kLanes <= kSharesMax;
}

bool KeyShares::wantsMore(uint64_t nowMicros) const {
  return hasRoom() && asked_ >= kLanes && nowMicros - askedSinceMicros_ <= kAgeMaxMicros;
}

bool KeyShares::take(uint64_t nowMicros, X25519Keygen& share) {
  if (asked_ == 0 || nowMicros - askedSinceMicros_ > kAgeMaxMicros) {
    asked_ = 0;
    askedSinceMicros_ = nowMicros;
  }
  asked_++;
  dropOld(nowMicros);
  if (size() == 0) {
    return false;
  }
  const size_t last = --memory_->count;
  share = memory_->shares[last];
  OPENSSL_cleanse(&memory_->shares[last], sizeof(X25519Keygen));
  return true;
}

// The oldest are in front.
void KeyShares::dropOld(uint64_t nowMicros) {
  size_t tooOld = 0;
  while (tooOld < size() && nowMicros - memory_->madeMicros[tooOld] > kAgeMaxMicros) {
    tooOld++;
  }
  if (tooOld > 0) {
    const size_t left = memory_->count - tooOld;
    std::copy_n(memory_->shares.begin() + tooOld, left, memory_->shares.begin());
    std::copy_n(memory_->madeMicros.begin() + tooOld, left, memory_->madeMicros.begin());
    OPENSSL_cleanse(&memory_->shares[left], tooOld * sizeof(X25519Keygen));
    memory_->count = left;
  }
}

bool KeyShares::make(const Kernels& kernels, uint64_t nowMicros) {
  CHECK(hasRoom());
  std::array<X25519Keygen*, kLanes> lanes{};
  for (size_t i = 0; i < kLanes; i++) {
    lanes[i] = &memory_->shares[memory_->count + i];
    if (!randomPrivateKey(*lanes[i])) {
      OPENSSL_cleanse(lanes[0], (i + 1) * sizeof(X25519Keygen));
      return false;
    }
    memory_->madeMicros[memory_->count + i] = nowMicros;
  }
  kernels.x25519Keygen(lanes);
  memory_->count += kLanes;
  asked_ -= std::min(asked_, kLanes);
  return true;
}

bool randomPrivateKey(X25519Keygen& share) {
  if (RAND_bytes(share.privateKey.data(), share.privateKey.size()) != 1) {
    return false;
  }
  share.privateKey.front() |= 0x07;
  share.privateKey.back() = static_cast<uint8_t>((share.privateKey.back() & 0xbf) | 0x80);
  return true;
}

}  // namespace weft::crypto
